//! `alknet cp`: files and directories to a node and back, whatever happens on the
//! way.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use integration_tests::{
    Alknet, Background, Ended, NODE, Random, Relay, Setup, Terminal, TestNode, eventually,
    sha256_of_file,
};
use rustix::process::Signal;

const MIB: usize = 1 << 20;
const BULK: usize = 1 << 30;

/// A node that serves a directory, and a user who may use it.
struct World {
    node: TestNode,
    user: Alknet,
    relay: Relay,
}

impl World {
    fn new() -> Self {
        Self::with("")
    }

    /// With more of `services.sftp`.
    fn with(more: &str) -> Self {
        let setup = Setup::new();
        setup.serve_root(more);
        fs::create_dir(setup.folder().join("local")).unwrap();
        setup.grant(&["ssh:sftp"]);
        let node = setup.start();
        let relay = Relay::to(node.addr);
        let user = Alknet::to(&node);
        user.know(&format!(
            "[home]\naddress = \"{}@{}\"\nhost_key = \"{}\"\nidentity_files = [\"{}\"]\n",
            node.node_key,
            relay.addr(),
            node.host_key,
            node.setup.key.file.display()
        ));
        Self { node, user, relay }
    }

    /// What the node serves.
    fn root(&self) -> PathBuf {
        self.node.setup.folder().join("root")
    }

    /// Where the user is.
    fn local(&self) -> PathBuf {
        self.node.setup.folder().join("local")
    }

    fn cp(&self, args: &[&str]) -> Ended {
        self.run(args).ended()
    }

    fn run(&self, args: &[&str]) -> integration_tests::Run {
        let words = [&["cp", "-v"], args].concat();
        self.user.run(&words).dir(&self.local())
    }
}

/// All there is below a directory, with what it holds; of a file its SHA-256.
fn tree(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let inner = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_dir() {
                found.push((inner, "folder".to_owned()));
                left.push(path);
            } else {
                found.push((inner, sha256_of_file(&path)));
            }
        }
    }
    found.sort();
    found
}

fn sample(folder: &Path) {
    fs::create_dir_all(folder.join("a/b/empty directory")).unwrap();
    let mut random = Random::new(3);
    for (name, length) in [
        ("empty", 0),
        ("one", 1),
        ("a/chunk", 255 * 1024),
        ("a/more", 255 * 1024 + 1),
        ("a/b/large", 5 * MIB),
    ] {
        fs::write(folder.join(name), random.bytes(length)).unwrap();
    }
    let odd = OsStr::from_bytes(b"a/not \xff UTF-8\n");
    fs::write(folder.join(odd), "odd").unwrap();
    fs::set_permissions(folder.join("one"), fs::Permissions::from_mode(0o640)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["one", "a"] {
        let file = fs::File::open(folder.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
}

#[test]
fn folders_go_there_and_come_back() {
    let world = World::new();
    sample(&world.local().join("sent"));
    let sent = tree(&world.local().join("sent"));
    let up = world.cp(&["-r", "sent", "home:new"]);
    assert_eq!(up.code(), 0, "{up}");
    assert_eq!(tree(&world.root().join("new")), sent);
    // Once more, into what is there now, and with times and permissions.
    let up = world.cp(&["-r", "-p", "sent", "home:/new"]);
    assert_eq!(up.code(), 0, "{up}");
    assert_eq!(tree(&world.root().join("new/sent")), sent);
    let down = world.cp(&["-rp", "home:new/sent/", "back"]);
    assert_eq!(down.code(), 0, "{down}");
    assert_eq!(tree(&world.local().join("back")), sent);
    for folder in [world.root().join("new/sent"), world.local().join("back")] {
        let one = fs::metadata(folder.join("one")).unwrap();
        assert_eq!(one.mode() & 0o777, 0o640);
        assert_eq!(one.mtime(), 1_000_000_000);
        assert_eq!(
            fs::metadata(folder.join("a")).unwrap().mtime(),
            1_000_000_000
        );
    }
    // The whole of what is served.
    let down = world.cp(&["-r", "home:", "all"]);
    assert_eq!(down.code(), 0, "{down}");
    assert_eq!(tree(&world.local().join("all")), tree(&world.root()));
}

#[test]
fn single_files_go_where_they_are_sent() {
    let world = World::new();
    let (local, root) = (world.local(), world.root());
    fs::write(local.join("one"), "1").unwrap();
    fs::write(local.join("a:b"), "2").unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    // Its place is taken by a file for its owner alone.
    fs::write(root.join("taken"), "old").unwrap();
    fs::set_permissions(root.join("taken"), fs::Permissions::from_mode(0o600)).unwrap();
    for args in [
        &["one", "./a:b", "home:folder"][..],
        &["one", "home:folder/two"],
        &["one", "home:taken"],
        &["one", "home:"],
    ] {
        let up = world.cp(args);
        assert_eq!(up.code(), 0, "{up}");
    }
    let expected = [
        "folder",
        "folder/a:b",
        "folder/one",
        "folder/two",
        "one",
        "taken",
    ];
    let found: Vec<PathBuf> = tree(&root).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, expected.map(PathBuf::from));
    assert_eq!(fs::read(root.join("taken")).unwrap(), b"1");
    assert_eq!(
        fs::metadata(root.join("taken")).unwrap().mode() & 0o777,
        0o600
    );
    let down = world.cp(&["home:folder/a:b", "home:folder/two", "."]);
    assert_eq!(down.code(), 0, "{down}");
    assert_eq!(fs::read(local.join("two")).unwrap(), b"1");
}

#[test]
fn what_cannot_be_copied_is_named_and_the_rest_is_copied() {
    let world = World::new();
    let (local, root) = (world.local(), world.root());
    fs::create_dir_all(local.join("tree/inner")).unwrap();
    fs::write(local.join("tree/file"), "x").unwrap();
    symlink("file", local.join("tree/link")).unwrap();
    symlink("nowhere", local.join("tree/dangling")).unwrap();
    symlink("..", local.join("tree/inner/loop")).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    fs::create_dir_all(root.join("clash/file")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        local.join("tree/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let up = world.cp(&["-r", "tree", "home:"]);
    assert_eq!(up.code(), 1, "{up}");
    for (name, reason) in [
        ("tree/dangling", "leads nowhere"),
        ("tree/inner/loop", "a directory that it is in"),
        ("tree/pipe", "not a file that can be copied"),
    ] {
        assert!(
            up.line_with(&[name, reason]).starts_with("alknet: "),
            "{up}"
        );
    }
    let names: Vec<PathBuf> = tree(&root.join("tree"))
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names, ["file", "inner", "link"].map(PathBuf::from));
    for (args, status, words) in [
        (&["tree", "home:"][..], 1, &["tree", "-r"][..]),
        (&["missing", "home:"], 1, &["missing", "no such file"]),
        (&["home:missing", "."], 1, &["missing", "no such file"]),
        (
            &["tree/file", "home:none/file"],
            1,
            &["none/file", "No such file"],
        ),
        (
            &["tree/file", "tree/link", "home:none"],
            255,
            &["none", "is not a directory"],
        ),
        (
            &["tree/file", "home:clash"],
            1,
            &["clash/file", "is a directory"],
        ),
        (&["home:/../../etc/passwd", "."], 1, &["no such file"]),
        (&["a", "b"], 255, &["neither end", "NODE:PATH"]),
        (&["home:a", "home:b"], 255, &["both ends"]),
    ] {
        let ended = world.cp(args);
        assert_eq!(ended.code(), status, "{ended}");
        ended.line_with(words);
    }
    assert!(!local.join("passwd").exists());
}

#[test]
fn nodes_that_serve_no_files_or_none_to_write_say_so() {
    let node = Setup::new().start();
    let user = Alknet::to(&node);
    let file = node.setup.key.file.display().to_string();
    let refused = user.run(&["cp", &file, &format!("{NODE}:")]).ended();
    assert_eq!(refused.code(), 255, "{refused}");
    refused.line_with(&["serves no files to you"]);
    let world = World::with(", read_only = true");
    fs::write(world.local().join("file"), "x").unwrap();
    let refused = world.cp(&["file", "home:"]);
    assert_eq!(refused.code(), 1, "{refused}");
    refused.line_with(&["file", "can only be read"]);
    assert!(tree(&world.root()).is_empty());
}

#[test]
fn only_what_is_the_same_is_gone_on_with() {
    let world = World::new();
    let (local, root) = (world.local(), world.root());
    let whole = Random::new(8).bytes(3 * MIB);
    fs::write(local.join("file"), &whole).unwrap();
    let part = root.join(".file.alknet-part");
    let mut other = whole[..2 * MIB].to_vec();
    other[MIB] ^= 1;
    let longer = [&whole[..], b"more"].concat();
    for (present, goes_on) in [(&whole[..2 * MIB], true), (&other, false), (&longer, true)] {
        fs::write(&part, present).unwrap();
        let up = world.cp(&["file", "home:"]);
        assert_eq!(up.code(), 0, "{up}");
        assert_eq!(up.err().contains("goes on after"), goes_on, "{up}");
        assert_eq!(fs::read(root.join("file")).unwrap(), whole);
        fs::write(local.join(".back.alknet-part"), present).unwrap();
        let down = world.cp(&["home:file", "back"]);
        assert_eq!(down.code(), 0, "{down}");
        assert_eq!(down.err().contains("goes on after"), goes_on, "{down}");
        assert_eq!(fs::read(local.join("back")).unwrap(), whole);
    }
    assert!(!part.exists());
}

/// Waits until so much of the file has arrived.
fn arrived(part: &Path, bytes: u64) {
    eventually("the copy goes on", || {
        fs::metadata(part)
            .is_ok_and(|part| part.len() >= bytes)
            .then_some(())
    });
}

/// Interrupts a copy of a gigabyte at 200, 400 and 600 MB, in three ways.
fn interrupt_three_times(mut world: World, args: &[&str], part: &Path, target: &Path) -> World {
    let at = |hundreds: u64| hundreds * 100 * MIB as u64;
    let mut running = Background::spawn(world.run(args));
    arrived(part, at(2));
    // Without a chance to tidy up.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(running.id().cast_signed()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    drop(running);
    assert!(!target.exists(), "nothing stands under its name");
    running = Background::spawn(world.run(args));
    running.says(&["goes on after"]).unwrap();
    arrived(part, at(4));
    running.terminate();
    let ended = running.ended();
    assert_eq!(ended.code(), 128 + 15, "{ended}");
    ended.line_with(&["the same command goes on"]);
    running = Background::spawn(world.run(args));
    arrived(part, at(6));
    // The node vanishes without a word, and comes back.
    world.node.signal(Signal::KILL);
    let setup = world.node.wait().setup;
    assert!(!target.exists());
    let node = setup.start();
    world.relay.lead_to(node.addr);
    let ended = running.ended();
    assert_eq!(ended.code(), 0, "{ended}");
    ended.line_with(&["lost the connection"]);
    assert!(ended.err().matches("goes on after").count() >= 2, "{ended}");
    assert!(!part.exists());
    world.node = node;
    world
}

#[test]
fn a_gigabyte_that_is_interrupted_three_times_arrives() {
    let world = World::new();
    let (local, root) = (world.local(), world.root());
    let digest = Random::new(9).file(&local.join("bulk"), BULK);
    let world = interrupt_three_times(
        world,
        &["bulk", "home:"],
        &root.join(".bulk.alknet-part"),
        &root.join("bulk"),
    );
    assert_eq!(sha256_of_file(&root.join("bulk")), digest);
    fs::remove_file(local.join("bulk")).unwrap();
    let _world = interrupt_three_times(
        world,
        &["home:bulk", "."],
        &local.join(".bulk.alknet-part"),
        &local.join("bulk"),
    );
    assert_eq!(sha256_of_file(&local.join("bulk")), digest);
}

/// The bar is not drawn on a terminal that was stopped (Ctrl-S).
#[test]
fn nobody_waits_for_a_terminal_that_was_stopped() {
    let world = World::new();
    let digest = Random::new(8).file(&world.local().join("bulk"), 16 * MIB);
    let run = world.user.run(&["cp", "bulk", "home:"]);
    let mut terminal = Terminal::open(run.dir(&world.local()), 24, 80);
    terminal.types("\u{13}");
    let target = world.root().join("bulk");
    eventually("the file has arrived", || {
        (target.exists() && sha256_of_file(&target) == digest).then_some(())
    });
    terminal.types("\u{11}");
    let (status, shown) = terminal.ended();
    assert!(status.success(), "{shown}");
}

#[test]
fn many_large_files_do_not_wait_for_each_other() {
    let world = World::new();
    let mut random = Random::new(5);
    fs::create_dir(world.local().join("many")).unwrap();
    for file in 0..40 {
        let path = world.local().join(format!("many/{file}"));
        fs::write(path, random.bytes(4 * MIB + file)).unwrap();
    }
    many_go_there_and_back(&world);
}

#[test]
fn ten_thousand_small_files_arrive() {
    let world = World::new();
    let mut random = Random::new(4);
    for folder in 0..100 {
        let folder = world.local().join(format!("many/{folder}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(file.to_string()), random.bytes(file * 10)).unwrap();
        }
    }
    many_go_there_and_back(&world);
}

/// Copies the directory `many` to the node and back.
fn many_go_there_and_back(world: &World) {
    let up = world.cp(&["-r", "many", "home:"]);
    assert_eq!(up.code(), 0, "{up}");
    let down = world.cp(&["-r", "home:many", "back"]);
    assert_eq!(down.code(), 0, "{down}");
    assert_eq!(
        tree(&world.local().join("back")),
        tree(&world.local().join("many"))
    );
}
