//! Messages in, messages out, against real directories.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{RngExt, SeedableRng};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::*;
use crate::sftp_protocol::wire::{Put, Reader};

/// A server with a root, beside which lies what nobody may reach.
struct World {
    directory: TempDir,
    server: Server,
}

/// An answer: its type, and what follows its number.
type Answer = (u8, Vec<u8>);

const STATUS: u8 = 101;
const OK: u32 = 0;
const NO_SUCH_FILE: u32 = 2;
const DENIED: u32 = 3;
const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
const UNSUPPORTED: u32 = 8;

const SECRET: &str = "nobody may read this";

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("root/home")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/secret"), SECRET).unwrap();
        let mut settings = Settings {
            root: directory.path().join("root").to_str().unwrap().to_owned(),
            read_only: false,
            max_open_files: 8,
            account: b"me".to_vec(),
            home: directory
                .path()
                .join("root/home")
                .as_os_str()
                .as_bytes()
                .to_vec(),
            private: vec![directory.path().join("root/private")],
        };
        change(&mut settings);
        let mut server = Server::new(&settings).unwrap();
        server.introduced = true;
        Self { directory, server }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    /// One request, one answer.
    fn ask(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Answer {
        self.ask_until(&|| false, kind, body)
    }

    /// The same of a client that may go.
    fn ask_until(
        &mut self,
        is_gone: &dyn Fn() -> bool,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Answer {
        let mut message = vec![kind];
        message.put_u32(7);
        body(&mut message);
        let mut frames = Frames::default();
        frames.push(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frames.push(&message);
        let mut replies = Replies::default();
        self.server
            .answer(&mut frames, &mut replies, is_gone)
            .unwrap();
        let bytes = replies.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u32().unwrap() as usize, bytes.len() - 4);
        let kind = reader.u8().unwrap();
        assert_eq!(reader.u32(), Ok(7));
        (kind, bytes[9..].to_vec())
    }

    fn status(&mut self, kind: u8, strings: &[&[u8]]) -> u32 {
        status(&self.ask(kind, |to| {
            strings.iter().for_each(|text| to.put_string(text))
        }))
    }

    /// The text a request that names one file is answered with.
    fn name(&mut self, kind: u8, path: &str) -> Result<String, u32> {
        let answer = self.ask(kind, |to| to.put_string(path.as_bytes()));
        if answer.0 == STATUS {
            return Err(status(&answer));
        }
        let mut reader = Reader::new(&answer.1);
        assert_eq!(reader.u32(), Ok(1));
        Ok(String::from_utf8(reader.string().unwrap().to_vec()).unwrap())
    }

    fn open(&mut self, path: &[u8], flags: u32) -> Result<Vec<u8>, u32> {
        let answer = self.ask(3, |to| {
            to.put_string(path);
            to.put_u32(flags);
            to.put_u32(0);
        });
        match answer {
            (102, body) => Ok(Reader::new(&body).string().unwrap().to_vec()),
            answer => Err(status(&answer)),
        }
    }

    fn read(&mut self, path: &[u8]) -> Result<Vec<u8>, u32> {
        let handle = self.open(path, OPEN_READ)?;
        let answer = self.ask(5, |to| {
            to.put_string(&handle);
            to.put_u64(0);
            to.put_u32(u32::MAX);
        });
        assert_eq!(self.status(4, &[&handle]), OK);
        match answer {
            (103, body) => Ok(Reader::new(&body).string().unwrap().to_vec()),
            answer => Err(status(&answer)),
        }
    }

    fn write(&mut self, path: &[u8], data: &[u8]) -> Result<(), u32> {
        let handle = self.open(path, OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE)?;
        let written = status(&self.ask(6, |to| {
            to.put_string(&handle);
            to.put_u64(0);
            to.put_string(data);
        }));
        assert_eq!(self.status(4, &[&handle]), OK);
        if written == OK { Ok(()) } else { Err(written) }
    }

    /// Sets permissions and times by path.
    fn set_mode(&mut self, path: &str, mode: u32) -> u32 {
        status(&self.ask(9, |to| {
            to.put_string(path.as_bytes());
            to.put_u32(4 | 8);
            to.put_u32(mode);
            to.put_u32(1);
            to.put_u32(2);
        }))
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn status((kind, body): &Answer) -> u32 {
    assert_eq!(*kind, STATUS);
    Reader::new(body).u32().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_written_read_and_changed() {
    let mut world = World::new();
    world.write(b"file", b"some text").unwrap();
    let path = world.root().join("home/file");
    assert_eq!(fs::read(&path).unwrap(), b"some text");
    assert_eq!(world.read(b"/home/file").unwrap(), b"some text");
    assert_eq!(world.set_mode("file", 0o100_600), OK);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::metadata(&path).unwrap().mtime(), 2);
    // A size alone.
    let cut = status(&world.ask(9, |to| {
        to.put_string(b"file");
        to.put_u32(1);
        to.put_u64(4);
    }));
    assert_eq!(cut, OK);
    assert_eq!(fs::read(&path).unwrap(), b"some");
    assert_eq!(world.read(b"missing"), Err(NO_SUCH_FILE));
}

#[test]
fn names_need_not_be_text() {
    let mut world = World::new();
    let name = b"caf\xe9 \xff\n";
    world.write(name, b"x").unwrap();
    assert_eq!(world.read(name).unwrap(), b"x");
    let handle = {
        let (_, body) = world.ask(11, |to| to.put_string(b"."));
        Reader::new(&body).string().unwrap().to_vec()
    };
    let (kind, body) = world.ask(12, |to| to.put_string(&handle));
    assert_eq!(kind, 104);
    assert!(body.windows(name.len()).any(|window| window == name));
}

#[test]
fn renaming_keeps_what_is_there_unless_told_otherwise() {
    let mut world = World::new();
    world.write(b"a", b"new").unwrap();
    world.write(b"b", b"old").unwrap();
    assert_eq!(world.status(18, &[b"a", b"b"]), FAILURE);
    assert_eq!(world.read(b"b").unwrap(), b"old");
    assert_eq!(
        world.status(200, &[b"posix-rename@openssh.com", b"a", b"b"]),
        OK
    );
    assert_eq!(world.read(b"b").unwrap(), b"new");
    assert_eq!(world.status(18, &[b"b", b"c"]), OK);
    assert_eq!(world.read(b"c").unwrap(), b"new");
}

#[test]
fn paths_are_told_as_the_client_sees_them() {
    let mut world = World::new();
    symlink("/home", world.root().join("link")).unwrap();
    for (asked, told) in [
        (".", "/home"),
        ("", "/home"),
        ("..", "/"),
        ("../../../..", "/"),
        ("/", "/"),
        ("/home/../home/./", "/home"),
        ("/link", "/home"),
        ("/link/new", "/home/new"),
        ("new", "/home/new"),
    ] {
        assert_eq!(world.name(16, asked), Ok(told.to_owned()), "{asked}");
    }
    assert_eq!(world.name(16, "/no/such"), Err(NO_SUCH_FILE));
    for (asked, told) in [("~", "/home"), ("~/x", "/home/x"), ("~//x", "/home/x")] {
        let (_, body) = world.ask(200, |to| {
            to.put_string(b"expand-path@openssh.com");
            to.put_string(asked.as_bytes());
        });
        let name = Reader::new(&body[4..]).string().unwrap().to_vec();
        assert_eq!(name, told.as_bytes(), "{asked}");
    }
}

#[test]
fn accounts_have_names_and_homes_where_the_root_is_that_of_the_machine() {
    let expand = |world: &mut World, path: &str| {
        let (kind, body) = world.ask(200, |to| {
            to.put_string(b"expand-path@openssh.com");
            to.put_string(path.as_bytes());
        });
        let name = Reader::new(&body[4..]).string().map(<[u8]>::to_vec);
        name.ok().filter(|_| kind != STATUS)
    };
    let names = |world: &mut World| {
        let (_, body) = world.ask(200, |to| {
            to.put_string(b"users-groups-by-id@openssh.com");
            to.put_string(&[0_u32.to_be_bytes(), u32::MAX.to_be_bytes()].concat());
            to.put_string(&0_u32.to_be_bytes());
        });
        let mut body = Reader::new(&body);
        let (users, groups) = (body.string().unwrap(), body.string().unwrap());
        [users.to_vec(), groups.to_vec()]
    };
    let packed = |names: &[&str]| {
        let mut packed = Vec::new();
        for name in names {
            packed.put_string(name.as_bytes());
        }
        packed
    };
    let mut world = World::with(|settings| settings.root = "/".to_owned());
    let root = expand(&mut world, "~root").expect("root has a home");
    let below = expand(&mut world, "~root//y");
    assert_eq!(below, Some([&root[..], b"/y"].concat()));
    assert_eq!(expand(&mut world, "~no such user"), None);
    assert_eq!(
        names(&mut world),
        [packed(&["root", ""]), packed(&["root"])]
    );

    let mut world = World::new();
    assert_eq!(expand(&mut world, "~root"), None);
    assert_eq!(expand(&mut world, "~me/x"), Some(b"/home/x".to_vec()));
    assert_eq!(names(&mut world), [packed(&["", ""]), packed(&[""])]);
}

#[test]
fn nothing_leads_out_of_the_root() {
    let mut world = World::new();
    let outside = world.outside();
    let secret = outside.join("secret");
    let before = mode(&secret);
    symlink(&secret, world.root().join("to_file")).unwrap();
    symlink(&outside, world.root().join("to_folder")).unwrap();
    symlink("../../outside", world.root().join("home/climbs")).unwrap();
    symlink("/proc/self/root", world.root().join("magic")).unwrap();
    symlink("loop", world.root().join("loop")).unwrap();
    let absolute = format!("/../../..{}", secret.display());
    for path in [
        "/to_file",
        "/to_folder/secret",
        "/home/climbs/secret",
        "../../outside/secret",
        "/../outside/secret",
        "/magic/etc/passwd",
        "/loop",
        "/proc/self/root/etc/passwd",
        &absolute,
    ] {
        assert_eq!(world.read(path.as_bytes()), Err(NO_SUCH_FILE), "{path}");
        assert_eq!(world.name(19, &format!("{path}/x")), Err(NO_SUCH_FILE));
        assert_ne!(world.set_mode(path, 0o777), OK, "{path}");
        assert_ne!(world.status(17, &[path.as_bytes()]), OK, "{path}");
    }
    for directory in ["/to_folder", "/home/climbs", "../../outside"] {
        let inside = format!("{directory}/new");
        assert!(world.write(inside.as_bytes(), b"x").is_err());
        let new = inside.as_bytes();
        let mkdir = world.ask(14, |to| {
            to.put_string(new);
            to.put_u32(0);
        });
        assert_ne!(status(&mkdir), OK);
        let target = format!("{directory}/secret");
        assert_ne!(world.status(13, &[target.as_bytes()]), OK);
        assert_ne!(world.status(18, &[target.as_bytes(), b"/stolen"]), OK);
        assert_ne!(world.status(20, &[b"x", new]), OK);
        let link = [&b"hardlink@openssh.com"[..], target.as_bytes(), b"/stolen"];
        assert_ne!(world.status(200, &link), OK);
        assert_ne!(world.status(11, &[directory.as_bytes()]), OK);
    }
    // The link itself can be given other times, its target not.
    let dated = world.ask(200, |to| {
        to.put_string(b"lsetstat@openssh.com");
        to.put_string(b"/to_file");
        to.put_u32(8);
        to.put_u32(1);
        to.put_u32(2);
    });
    assert_eq!(status(&dated), OK);
    let link = fs::symlink_metadata(world.root().join("to_file")).unwrap();
    assert_eq!(link.mtime(), 2);
    assert_ne!(fs::metadata(&secret).unwrap().mtime(), 2);
    // A link out can be made, read and removed; it just leads nowhere.
    assert_eq!(world.status(20, &[b"/etc/passwd", b"/made"]), OK);
    assert_eq!(world.name(19, "/made"), Ok("/etc/passwd".to_owned()));
    assert_eq!(world.read(b"/made"), Err(NO_SUCH_FILE));
    assert_eq!(world.status(13, &[b"/made"]), OK);
    assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    assert_eq!(mode(&secret), before);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn whoever_swaps_folders_and_links_meanwhile_gains_nothing() {
    let mut world = World::new();
    let (root, outside) = (world.root(), world.outside());
    fs::create_dir_all(root.join("swap/deep")).unwrap();
    fs::write(root.join("swap/secret"), "harmless").unwrap();
    symlink(&outside, root.join("link")).unwrap();
    let over = AtomicBool::new(false);
    let mut inside = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let (one, other) = (root.join("swap"), root.join("link"));
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // The other thread ends with this one, also when it panics.
        let _over = Over(&over);
        for round in 0..20_000 {
            if world.read(b"/swap/secret").is_ok_and(|text| {
                assert_eq!(text, b"harmless");
                true
            }) {
                inside += 1;
            }
            if let Ok(text) = world.read(b"/swap/deep/../secret") {
                assert_eq!(text, b"harmless");
            }
            let _ = world.write(b"/swap/new", b"x");
            let _ = world.set_mode("/swap/secret", if round % 2 == 0 { 0o600 } else { 0o644 });
            let _ = world.status(18, &[b"/swap/new", b"/swap/newer"]);
            let _ = world.status(13, &[b"/swap/newer"]);
        }
    });
    assert!(inside > 0, "never read anything");
    let secret = outside.join("secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    let modified = fs::metadata(&secret).unwrap().mtime();
    assert_ne!(modified, 2, "its times were set");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_root_that_is_the_real_one_follows_links_as_usual() {
    let mut world = World::with(|settings| settings.root = "/".to_owned());
    let secret = world.outside().join("secret");
    let link = world.root().join("home/link");
    symlink(&secret, &link).unwrap();
    assert_eq!(world.read(b"link").unwrap(), SECRET.as_bytes());
    let real = secret.canonicalize().unwrap();
    let told = world.name(16, link.to_str().unwrap());
    assert_eq!(told, Ok(real.to_str().unwrap().to_owned()));
}

#[test]
fn nothing_changes_where_files_can_only_be_read() {
    let mut world = World::with(|settings| settings.read_only = true);
    fs::write(world.root().join("home/file"), "text").unwrap();
    assert_eq!(world.read(b"file").unwrap(), b"text");
    for flags in [
        OPEN_WRITE,
        OPEN_READ | OPEN_CREATE,
        OPEN_READ | OPEN_TRUNCATE,
        OPEN_APPEND,
    ] {
        assert_eq!(world.open(b"file", flags), Err(DENIED));
    }
    assert_eq!(world.set_mode("file", 0o777), DENIED);
    for (kind, strings) in [
        (13, &[&b"file"[..]][..]),
        (15, &[b"/home"]),
        (18, &[b"file", b"new"]),
        (20, &[b"file", b"new"]),
        (200, &[b"posix-rename@openssh.com", b"file", b"new"]),
        (200, &[b"hardlink@openssh.com", b"file", b"new"]),
    ] {
        assert_eq!(world.status(kind, strings), DENIED, "{kind}");
    }
    assert_eq!(fs::read_dir(world.root().join("home")).unwrap().count(), 1);
}

#[test]
fn only_so_many_files_can_be_open() {
    let mut world = World::new();
    world.write(b"file", b"x").unwrap();
    let handles: Vec<_> = (0..8)
        .map(|_| world.open(b"file", OPEN_READ).unwrap())
        .collect();
    for _ in 0..1000 {
        assert_eq!(world.open(b"file", OPEN_READ), Err(FAILURE));
        assert_eq!(world.status(11, &[b"."]), FAILURE);
    }
    assert_eq!(world.status(4, &[&handles[3]]), OK);
    assert_eq!(world.status(4, &[&handles[3]]), FAILURE);
    let again = world.open(b"file", OPEN_READ).unwrap();
    assert_ne!(
        again, handles[3],
        "a handle closed twice names nothing else"
    );
}

#[test]
fn a_named_pipe_holds_nobody_up() {
    let mut world = World::new();
    let pipe = world.root().join("home/pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    assert!(world.read(b"pipe").is_err());
    assert_eq!(world.open(b"pipe", OPEN_WRITE), Err(FAILURE));
}

#[test]
fn random_messages_get_answers_and_do_nothing_else() {
    let mut world = World::new();
    world.write(b"file", &[b'x'; 1000]).unwrap();
    let handle = world.open(b"file", OPEN_READ | OPEN_WRITE).unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    for _ in 0..100_000 {
        let kind = random.random_range(2..=21);
        let kind = if kind == 21 { 200 } else { kind };
        let length = random.random_range(0..40);
        let words: [&[u8]; 6] = [
            &handle,
            b"file",
            b"..",
            b"\0\0\0\x01",
            b"copy-data",
            b"limits@openssh.com",
        ];
        let body: Vec<u8> = std::iter::repeat_with(|| match random.random_range(0..4) {
            0 => {
                let mut bytes = Vec::new();
                bytes.put_string(words[random.random_range(0..words.len())]);
                bytes
            }
            1 => vec![0; 4],
            _ => vec![random.random()],
        })
        .take(length)
        .flatten()
        .collect();
        world.ask(kind, |to| to.extend_from_slice(&body));
    }
    assert_eq!(fs::read_dir(world.outside()).unwrap().count(), 1);
}

#[test]
fn many_requests_for_much_data_are_answered_in_parts() {
    let mut world = World::new();
    world.write(b"file", &[b'x'; MOST_DATA]).unwrap();
    let handle = world.open(b"file", OPEN_READ).unwrap();
    let mut frames = Frames::default();
    for id in 0..1000 {
        let mut message = vec![5];
        message.put_u32(id);
        message.put_string(&handle);
        message.put_u64(0);
        message.put_u32(u32::MAX);
        frames.push(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frames.push(&message);
    }
    let mut answered = 0;
    while frames.is_ready() {
        let mut replies = Replies::default();
        world
            .server
            .answer(&mut frames, &mut replies, &|| false)
            .unwrap();
        assert!(replies.len() < ENOUGH + LONGEST_MESSAGE);
        answered += replies.len() / MOST_DATA;
    }
    assert_eq!(answered, 1000);
}

#[test]
fn what_is_no_file_transfer_ends_it() {
    let mut world = World::new();
    world.server.introduced = false;
    for (bytes, fault) in [
        (&b"Hello world"[..], SftpError::Length(0x4865_6c6c)),
        (b"\0\0\0\x05\x05\0\0\0\0", SftpError::NoInit),
        (b"\0\0\0\x05\x01\0\0\0\x02", SftpError::OldVersion(2)),
        (b"\0\0\0\x02\x05\0", SftpError::NoMessage),
    ] {
        let mut frames = Frames::default();
        frames.push(bytes);
        let answered = world
            .server
            .answer(&mut frames, &mut Replies::default(), &|| false);
        assert_eq!(answered, Err(fault));
    }
}

#[test]
fn a_file_is_copied_on_the_node_but_never_into_itself() {
    let mut world = World::new();
    world.write(b"file", b"0123456789").unwrap();
    let from = world.open(b"file", OPEN_READ | OPEN_WRITE).unwrap();
    let to = world.open(b"copy", OPEN_WRITE | OPEN_CREATE).unwrap();
    let mut copy = |to_handle: &[u8]| {
        status(&world.ask(200, |to| {
            to.put_string(b"copy-data");
            to.put_string(&from);
            to.put_u64(2);
            to.put_u64(5);
            to.put_string(to_handle);
            to.put_u64(1);
        }))
    };
    assert_eq!(copy(&to), OK);
    assert_eq!(copy(&from), FAILURE);
    assert_eq!(world.read(b"copy").unwrap(), b"\x0023456");
}

/// What `check-file` says of an open file.
fn hashes(
    world: &mut World,
    handle: &[u8],
    algorithms: &str,
    (offset, length, block): (u64, u64, u32),
) -> Result<Vec<u8>, u32> {
    let answer = world.ask(200, |to| {
        to.put_string(b"check-file-handle");
        to.put_string(handle);
        to.put_string(algorithms.as_bytes());
        to.put_u64(offset);
        to.put_u64(length);
        to.put_u32(block);
    });
    if answer.0 == STATUS {
        return Err(status(&answer));
    }
    let head = b"\0\0\0\x0acheck-file\0\0\0\x06sha256";
    Ok(answer.1.strip_prefix(&head[..]).unwrap().to_vec())
}

#[test]
fn parts_of_a_file_are_hashed() {
    let of = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
    let mut world = World::new();
    let bytes: Vec<u8> = (0..600_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(world.root().join("file"), &bytes).unwrap();
    fs::write(world.root().join("empty"), "").unwrap();
    let file = world.open(b"/file", OPEN_READ).unwrap();
    let empty = world.open(b"/empty", OPEN_READ).unwrap();
    let mut ask = |handle: &[u8], part| hashes(&mut world, handle, "md5,sha256", part);
    assert_eq!(ask(&file, (0, 0, 0)), Ok(of(&bytes)));
    assert_eq!(ask(&file, (5, 300_000, 0)), Ok(of(&bytes[5..300_005])));
    assert_eq!(ask(&file, (599_990, 1000, 0)), Ok(of(&bytes[599_990..])));
    let parts: Vec<u8> = bytes.chunks(250_000).flat_map(of).collect();
    assert_eq!(ask(&file, (0, 0, 250_000)), Ok(parts.clone()));
    assert_eq!(ask(&file, (0, 500_000, 250_000)), Ok(parts[..64].to_vec()));
    assert_eq!(ask(&file, (0, 600_000, 300_000)).unwrap().len(), 64);
    assert_eq!(ask(&empty, (0, 0, 0)), Ok(of(b"")));
    assert_eq!(ask(&empty, (0, 0, 256)), Ok(of(b"")));
    assert_eq!(ask(&file, (0, 0, 255)), Err(BAD_MESSAGE));
    assert_eq!(ask(b"none", (0, 0, 0)), Err(FAILURE));
    // More hashes than a message holds.
    let long = fs::File::create(world.root().join("long")).unwrap();
    long.set_len(3 << 20).unwrap();
    let long = world.open(b"/long", OPEN_READ).unwrap();
    assert_eq!(
        hashes(&mut world, &long, "sha256", (0, 0, 256)),
        Err(FAILURE)
    );
    assert_eq!(
        hashes(&mut world, &long, "md5", (0, 0, 0)),
        Err(UNSUPPORTED)
    );
}

#[test]
fn work_of_any_length_ends_when_the_client_has_gone() {
    let mut world = World::new();
    let endless = fs::File::create(world.root().join("endless")).unwrap();
    // Hours of hashing and copying.
    endless.set_len(1 << 42).unwrap();
    let from = world.open(b"/endless", OPEN_READ).unwrap();
    let to = world.open(b"/copy", OPEN_CREATE | OPEN_WRITE).unwrap();
    let looks = std::cell::Cell::new(0);
    let is_gone = || looks.replace(looks.get() + 1) >= 3;
    let hashed = world.ask_until(&is_gone, 200, |to| {
        to.put_string(b"check-file-handle");
        to.put_string(&from);
        to.put_string(b"sha256");
        to.put_u64(0);
        to.put_u64(0);
        to.put_u32(0);
    });
    assert_eq!((status(&hashed), looks.get()), (FAILURE, 4));
    let copied = world.ask_until(&is_gone, 200, |into| {
        into.put_string(b"copy-data");
        into.put_string(&from);
        into.put_u64(0);
        into.put_u64(0);
        into.put_string(&to);
        into.put_u64(0);
    });
    assert_eq!((status(&copied), looks.get()), (FAILURE, 5));
}
