//! File transfer: stock `sftp`, `scp` by both of its protocols and rsync
//! against a real node, and clients that wish it ill.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use integration_tests::{
    Background, Ended, Memory, Peers, Random, Run, Setup, Ssh, TestKey, TestNode, eventually,
    requires, sha256, sha256_of_file,
};

const BULK: usize = 1 << 30;

/// A node that serves a directory, and a client that may use it.
struct World {
    node: TestNode,
    ssh: Ssh,
}

impl World {
    fn new() -> Option<Self> {
        Self::with("")
    }

    /// With more of `services.sftp`.
    fn with(more: &str) -> Option<Self> {
        requires(&["ssh", "sftp", "scp"]).then(|| {
            let setup = Setup::new();
            setup.serve_root(more);
            fs::create_dir(setup.folder().join("local")).unwrap();
            setup.grant(&["ssh:sftp"]);
            let node = setup.start();
            let ssh = Ssh::to(&node);
            Self { node, ssh }
        })
    }

    /// What the node serves.
    fn root(&self) -> PathBuf {
        self.node.setup.folder().join("root")
    }

    /// What the client has.
    fn local(&self) -> PathBuf {
        self.node.setup.folder().join("local")
    }

    /// `sftp` with these commands, in the client's directory; it ends with the
    /// first that fails.
    fn sftp(&self, commands: &str) -> Ended {
        self.ssh
            .program("sftp")
            .args(["-q", "-b", "-", "node"])
            .dir(&self.local())
            .stdin(commands)
            .ended()
    }

    fn scp(&self, args: &[&str]) -> Run {
        self.ssh
            .program("scp")
            .arg("-q")
            .args(args)
            .dir(&self.local())
    }

    fn raw(&self) -> Raw {
        Raw::open(&self.ssh)
    }
}

#[test]
fn it_is_refused_unless_both_the_configuration_and_a_scope_allow_it() {
    if !requires(&["ssh", "sftp"]) {
        return;
    }
    let off = "services.sftp.enabled = false";
    let unconfined = ["ssh:sftp", "ssh:unconfined"];
    for (config, scopes, remedy) in [
        (off, &unconfined[..], "services.sftp.enabled = true"),
        ("", &[], "the scope ssh:sftp"),
    ] {
        let setup = Setup::new();
        setup.grant(scopes);
        setup.ssh_config(config);
        let node = setup.start();
        let ssh = Ssh::to(&node);
        let ended = ssh.program("sftp").args(["-b", "-", "node"]).ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["alknet: file transfer is refused", remedy]);
        node.logged(&["plugin::ssh::policy", "request denied", "sftp"]);
        assert_eq!(ssh.run("exit 7").code(), 7);
    }
}

#[test]
fn the_commands_of_sftp_do_what_they_say() {
    let Some(world) = World::new() else { return };
    let (root, local) = (world.root(), world.local());
    let digest = Random::new(1).file(&local.join("file"), 3_000_000);
    let ended = world.sftp(
        "pwd
         mkdir folder
         put file folder/file
         ls -l folder
         chmod 640 folder/file
         rename folder/file folder/other
         ln -s other folder/soft
         ln folder/other folder/hard
         df folder
         cd folder
         get soft back
         put -p file dated
         rm hard
         mkdir empty
         rmdir empty
         -rm missing
         ls -l",
    );
    assert_eq!(ended.code(), 0, "{ended}");
    let said = ended.out();
    assert!(said.contains("Remote working directory: /\n"), "{ended}");
    assert!(said.contains("3000000"), "{ended}");
    let other = root.join("folder/other");
    assert_eq!(sha256_of_file(&other), digest);
    assert_eq!(sha256_of_file(&local.join("back")), digest);
    assert_eq!(other.metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(
        fs::read_link(root.join("folder/soft")).unwrap(),
        Path::new("other")
    );
    let modified = |path: &Path| path.metadata().unwrap().mtime();
    assert_eq!(
        modified(&root.join("folder/dated")),
        modified(&local.join("file"))
    );
    for gone in ["hard", "empty", "file"] {
        assert!(!root.join("folder").join(gone).exists(), "{gone}");
    }
    assert!(ended.err().contains("missing"), "{ended}");
}

#[test]
fn a_gibibyte_goes_each_way_by_sftp_and_both_protocols_of_scp() {
    let Some(world) = World::new() else { return };
    let (root, local) = (world.root(), world.local());
    let digest = Random::new(2).file(&local.join("bulk"), BULK);
    let same = |path: PathBuf| {
        assert_eq!(sha256_of_file(&path), digest, "{}", path.display());
        fs::remove_file(path).unwrap();
    };
    let ended = world.sftp("put bulk sent\nget sent back");
    assert_eq!(ended.code(), 0, "{ended}");
    same(root.join("sent"));
    same(local.join("back"));
    // The new protocol sees the root, the old one the whole node.
    let whole = root.to_str().unwrap();
    for (protocol, folder) in [("-s", ""), ("-O", whole)] {
        let there = format!("node:{folder}/sent");
        world.scp(&[protocol, "bulk", &there]).output();
        world.scp(&[protocol, &there, "back"]).output();
        same(root.join("sent"));
        same(local.join("back"));
    }
}

#[test]
fn ten_thousand_small_files_go_each_way() {
    let Some(world) = World::new() else { return };
    let (root, local) = (world.root(), world.local());
    let tree = local.join("tree");
    let mut random = Random::new(3);
    for number in 0..10_000 {
        let folder = tree.join(format!("{}", number % 10));
        fs::create_dir_all(&folder).unwrap();
        let bytes = random.bytes(1 + number % 3000);
        fs::write(folder.join(format!("{number}")), bytes).unwrap();
    }
    let digest = digest_of(&tree);
    let whole = root.to_str().unwrap();
    let copied = |by: &str| {
        assert_eq!(digest_of(&root.join("tree")), digest, "{by}: there");
        assert_eq!(digest_of(&local.join("back")), digest, "{by}: back");
        fs::remove_dir_all(root.join("tree")).unwrap();
        fs::remove_dir_all(local.join("back")).unwrap();
    };
    let ended = world.sftp("put -r tree");
    assert_eq!(ended.code(), 0, "{ended}");
    let ended = world.sftp("get -r tree back");
    assert_eq!(ended.code(), 0, "{ended}");
    copied("sftp");
    for (protocol, folder) in [("-s", ""), ("-O", whole)] {
        let there = format!("node:{folder}/tree");
        world.scp(&[protocol, "-r", "tree", &there]).output();
        world.scp(&[protocol, "-r", &there, "back"]).output();
        copied(protocol);
    }
    if requires(&["rsync"]) {
        let rsync = |from: &str, to: &str| {
            let run = Run::new("rsync").args(["-a", "-e", &world.ssh.as_command(), from, to]);
            run.dir(&local).output();
        };
        let there = format!("node:{whole}/tree/");
        rsync("tree/", &there);
        rsync(&there, "back/");
        copied("rsync");
    }
}

#[test]
fn nobody_gets_out_of_the_root() {
    let Some(world) = World::new() else { return };
    let (root, local) = (world.root(), world.local());
    let outside = world.node.setup.folder().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "a secret").unwrap();
    fs::write(local.join("file"), "mine").unwrap();
    symlink(&outside, root.join("link")).unwrap();
    symlink(outside.join("secret"), root.join("file_link")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let path = outside.to_str().unwrap();
    for command in [
        "get ../outside/secret got",
        "get ../../../../../../etc/passwd got",
        "get /../outside/secret got",
        &format!("get {path}/secret got"),
        "get link/secret got",
        "get file_link got",
        "get relative/secret got",
        "get loop got",
        "get /proc/self/root/etc/passwd got",
        "put file link/new",
        "put file file_link/new",
        "put file relative/new",
        "put file ../outside/new",
        "rm link/secret",
        "rm ../outside/secret",
        "rename link/secret stolen",
        "ln link/secret stolen",
        "chmod 777 file_link",
        "mkdir link/new",
        "rmdir ../outside",
        "cd link",
        "ls link/",
    ] {
        let ended = world.sftp(command);
        assert_ne!(ended.code(), 0, "{command}: {ended}");
        assert!(!local.join("got").exists(), "{command}");
    }
    // A file of that name is made in the root, where the link seems to lead.
    fs::remove_file(root.join("file_link")).unwrap();
    symlink("/made", root.join("to_new")).unwrap();
    let ended = world.sftp("put file to_new\ncd ..\npwd\nls -l");
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(fs::read_to_string(root.join("made")).unwrap(), "mine");
    let secret = outside.join("secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "a secret");
    assert_ne!(secret.metadata().unwrap().mode() & 0o777, 0o777);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn nothing_is_written_where_that_is_not_allowed() {
    let Some(world) = World::with(", read_only = true") else {
        return;
    };
    fs::write(world.root().join("there"), "text").unwrap();
    fs::write(world.local().join("file"), "text").unwrap();
    let ended = world.sftp("get there got\nls -l");
    assert_eq!(ended.code(), 0, "{ended}");
    for command in [
        "put file",
        "put file there",
        "rm there",
        "mkdir x",
        "rename there x",
        "ln -s there x",
        "chmod 600 there",
    ] {
        let ended = world.sftp(command);
        assert_ne!(ended.code(), 0, "{command}: {ended}");
        assert!(ended.err().contains("ermission denied"), "{ended}");
    }
    assert_eq!(fs::read_dir(world.root()).unwrap().count(), 1);
}

#[test]
fn a_root_that_is_gone_is_told_to_the_user_and_the_operator() {
    let Some(world) = World::new() else { return };
    fs::remove_dir(world.root()).unwrap();
    let ended = world.sftp("ls");
    assert_ne!(ended.code(), 0, "{ended}");
    ended.line_with(&["cannot be opened", "No such file"]);
    world.node.logged(&["/services/sftp/root", "No such file"]);
}

#[test]
fn an_unconfined_peer_sees_the_whole_node_from_the_home_directory() {
    if !requires(&["ssh", "sftp"]) {
        return;
    }
    let setup = Setup::new();
    setup.grant(&["ssh:sftp", "ssh:unconfined"]);
    let node = setup.start();
    let ssh = Ssh::to(&node);
    let folder = node.setup.folder().canonicalize().unwrap();
    fs::write(folder.join("file"), "text").unwrap();
    let (from, to) = (folder.join("file"), folder.join("got"));
    let commands = format!("pwd\nget {} {}", from.display(), to.display());
    let ended = ssh
        .program("sftp")
        .args(["-b", "-", "node"])
        .stdin(commands)
        .ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(fs::read_to_string(to).unwrap(), "text");
    let home = ssh.run("cd && pwd -P").out();
    let told = format!("Remote working directory: {home}");
    assert!(ended.out().contains(&told), "{ended}");
}

#[test]
fn transfer_ends_when_it_is_no_longer_permitted() {
    if !requires(&["ssh", "sftp"]) {
        return;
    }
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "alice");
    let mut peers = Peers::new();
    peers.add("alice", &key, &["ssh:exec", "ssh:sftp"]);
    peers.write(&setup);
    setup.ssh_config("services.sftp.root = \"/\"");
    let node = setup.start();
    let ssh = Ssh::with_key(&node, &key);
    let mut raw = Raw::open(&ssh);
    raw.open_file("/etc/passwd", READ);
    let mut command = Background::spawn(ssh.command("cat"));
    command.echoes("still here");

    peers.rescope("alice", &["ssh:exec"]).write(&node.setup);
    node.setup.on_state("reload").output();

    let said = raw.closed();
    assert!(said.contains("no longer permitted"), "{said}");
    command.echoes("not affected");
    let ended = ssh.program("ssh").args(["-s", "node", "sftp"]).ended();
    ended.line_with(&["alknet: file transfer is refused", "ssh:sftp"]);
}

#[test]
fn what_is_no_file_transfer_is_told_so() {
    let Some(world) = World::new() else { return };
    for (bytes, words) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not a file transfer"),
        (b"\xff\xff\xff\xff\x01", "not a file transfer"),
        (b"\0\0\0\0", "not a file transfer"),
        (b"\0\0\0\x05\x01\0\0\0\x02", "version 2"),
        (b"\0\0\0\x09\x04\0\0\0\x01\0\0\0\0", "before the version"),
    ] {
        let mut raw = Raw::start(&world.ssh);
        raw.write(bytes);
        let said = raw.closed();
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(world.sftp("ls").code(), 0);
}

#[test]
fn handles_and_answers_that_pile_up_cost_little_and_nobody_else() {
    let Some(world) = World::with(", max_open_files = 20") else {
        return;
    };
    let (root, local) = (world.root(), world.local());
    Random::new(4).file(&root.join("large"), 4 << 20);
    fs::write(local.join("file"), "text").unwrap();
    let memory = Memory::watch(&world.node);

    // Thousands of files are opened.
    let mut raw = world.raw();
    let opened = (0..5000)
        .filter(|_| raw.try_open("/large", READ).is_some())
        .count();
    assert_eq!(opened, 20);
    let open = fs::read_dir(format!("/proc/{}/fd", world.node.pid()));
    assert!(open.unwrap().count() < 100);

    // Gigabytes are asked for, and never taken.
    let mut greedy = world.raw();
    let handle = greedy.open_file("/large", READ);
    let mut request = Message::new(5).string(&handle).u64(0).u32(u32::MAX);
    let request = request.whole(1).repeat(50_000);
    let mut stdin = greedy.stdin.take().unwrap();
    let flood = std::thread::spawn(move || {
        let _ = stdin.write_all(&request);
        stdin
    });
    for _ in 0..5 {
        let ended = world.sftp("put file new\nget new back\nrm new");
        assert_eq!(ended.code(), 0, "{ended}");
    }
    let growth = memory.growth_mib();
    assert!(growth < 64, "{growth} MiB");
    drop(greedy);
    let _ = flood.join();

    // All of it is given back.
    drop(raw);
    eventually("the files have been closed", || {
        let open = fs::read_dir(format!("/proc/{}/fd", world.node.pid())).ok()?;
        let root = root.as_os_str().as_bytes();
        open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .all(|file| !file.as_os_str().as_bytes().starts_with(root))
            .then_some(())
    });
}

#[test]
fn what_arrived_stays_when_the_client_vanishes() {
    let Some(world) = World::new() else { return };
    let mut raw = world.raw();
    let handle = raw.open_file("/partial", WRITE | CREATE);
    let half = Random::new(5).bytes(100_000);
    raw.send(Message::new(6).string(&handle).u64(0).string(&half));
    assert_eq!(raw.status(), 0);
    raw.child.kill().unwrap();
    drop(raw);
    let path = world.root().join("partial");
    assert_eq!(sha256(&fs::read(&path).unwrap()), sha256(&half));
    // And the transfer goes on from there.
    let local = world.local();
    let whole = [half, Random::new(6).bytes(100_000)].concat();
    fs::write(local.join("partial"), &whole).unwrap();
    let ended = world.sftp("put -a partial partial");
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(fs::read(&path).unwrap(), whole);
}

/// Names, permissions and contents of a tree, in one number.
fn digest_of(folder: &Path) -> String {
    fn walk(folder: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                let digest = sha256(&fs::read(&path).unwrap());
                let name = path.file_name().unwrap().to_str().unwrap();
                into.push(format!("{name} {mode:o} {digest}\n"));
            }
        }
    }
    let mut lines = Vec::new();
    walk(folder, &mut lines);
    lines.sort();
    sha256(lines.concat().as_bytes())
}

const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATE: u32 = 8;

/// A client that says exactly what it is told to.
struct Raw {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u8) -> Self {
        Self(vec![kind, 0, 0, 0, 0])
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn string(self, bytes: &[u8]) -> Self {
        let mut this = self.u32(u32::try_from(bytes.len()).unwrap());
        this.0.extend(bytes);
        this
    }

    fn whole(&mut self, id: u32) -> Vec<u8> {
        self.0[1..5].copy_from_slice(&id.to_be_bytes());
        let length = u32::try_from(self.0.len()).unwrap().to_be_bytes();
        [&length, &self.0[..]].concat()
    }
}

impl Raw {
    fn start(ssh: &Ssh) -> Self {
        let mut command = ssh
            .program("ssh")
            .args(["-s", "node", "sftp"])
            .into_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().unwrap(),
            child,
        }
    }

    fn open(ssh: &Ssh) -> Self {
        let mut raw = Self::start(ssh);
        raw.write(b"\0\0\0\x05\x01\0\0\0\x03");
        let (kind, body) = raw.receive();
        assert_eq!((kind, &body[..4]), (2, &[0, 0, 0, 3][..]));
        raw
    }

    fn send(&mut self, mut message: Message) {
        self.write(&message.whole(1));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut length = [0; 4];
        self.stdout.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.stdout.read_exact(&mut message).unwrap();
        (message[0], message[1..].to_vec())
    }

    fn try_open(&mut self, path: &str, flags: u32) -> Option<Vec<u8>> {
        self.send(Message::new(3).string(path.as_bytes()).u32(flags).u32(0));
        let (kind, body) = self.receive();
        (kind == 102).then(|| body[8..].to_vec())
    }

    fn open_file(&mut self, path: &str, flags: u32) -> Vec<u8> {
        self.try_open(path, flags).unwrap()
    }

    fn status(&mut self) -> u32 {
        let (kind, body) = self.receive();
        assert_eq!(kind, 101);
        u32::from_be_bytes(body[4..8].try_into().unwrap())
    }

    /// Waits for the far end to close; gives what it says.
    fn closed(mut self) -> String {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        said
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
