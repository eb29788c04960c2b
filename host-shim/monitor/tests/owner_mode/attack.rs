//! The attacker: tries everything it can think of and says what succeeded. It
//! runs as a guest alone, and refuses to run without walls: what it tries would
//! harm the machine. Each try is chosen so that it harms as little as it can
//! where a wall has a hole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal};

type Try = (&'static str, fn(&Target) -> io::Result<()>);

/// What is attacked: the directory of the test, the test's own process, which
/// stands for the node.
struct Target {
    root: PathBuf,
    node: i32,
}

pub(crate) const COUNT: usize = TRIES.len();

const TRIES: &[Try] = &[
    ("read the mnemonic", |t| {
        read(&t.root.join("state/mnemonic"))
    }),
    ("read it by another name", |t| {
        read(
            &Path::new("/proc/self/root")
                .join(t.root.strip_prefix("/").unwrap())
                .join("state/mnemonic"),
        )
    }),
    ("read it through the node's root", |t| {
        read(&PathBuf::from(format!(
            "/proc/{}/root{}/state/mnemonic",
            t.node,
            t.root.display()
        )))
    }),
    ("list the state", |t| {
        fs::read_dir(t.root.join("state")).map(drop)
    }),
    ("write to the state", |t| {
        fs::write(t.root.join("state/new"), "x")
    }),
    ("cut the mnemonic", |t| {
        truncate(&t.root.join("state/mnemonic"))
    }),
    ("make the mnemonic readable", |t| {
        chmod(&t.root.join("state/mnemonic"), 0o644)
    }),
    ("make the root writable", |t| chmod(&t.root, 0o777)),
    ("give the owner's file another time", |t| {
        touch(&t.root.join("owner"))
    }),
    ("remove the owner's file", |t| {
        fs::remove_file(t.root.join("owner"))
    }),
    ("follow a link out of a tree", |t| {
        read(&t.root.join("srv/out"))
    }),
    ("write through a link out of a tree", |t| {
        fs::OpenOptions::new()
            .append(true)
            .open(t.root.join("srv/out"))
            .map(drop)
    }),
    ("link the owner's file into a tree", |t| {
        fs::hard_link(t.root.join("owner"), t.root.join("srv/hard"))
    }),
    ("write to a tree that may be read", |t| {
        fs::write(t.root.join("www/new"), "x")
    }),
    ("change the mode of a file that may be read", |t| {
        chmod(&t.root.join("www/index.html"), 0o777)
    }),
    ("read another guest's home", |t| {
        read(&t.root.join("guests/other/secret"))
    }),
    ("list the guests", |t| {
        fs::read_dir(t.root.join("guests")).map(drop)
    }),
    ("write to /usr", |_| append("/usr/lib/os-release")),
    ("write to /etc", |_| append("/etc/passwd")),
    ("read /root", |_| fs::read_dir("/root").map(drop)),
    ("read the system's passwords", |_| {
        read(Path::new("/etc/shadow"))
    }),
    ("read the memory of the node", |t| memory(t.node)),
    ("read the environment of the node", |t| {
        read(&PathBuf::from(format!("/proc/{}/environ", t.node)))
    }),
    ("read the descriptors of the node", |t| {
        fs::read_link(format!("/proc/{}/fd/0", t.node)).map(drop)
    }),
    ("signal the node", |t| signal(t.node)),
    ("signal the keeper", |_| signal(parent())),
    ("trace the node", |t| trace(t.node)),
    ("limit the node", |t| limit(t.node)),
    ("slow the node down", |t| {
        use rustix::process::{getpriority_process, setpriority_process};
        let pid = Pid::from_raw(t.node);
        Ok(setpriority_process(pid, getpriority_process(pid)?)?)
    }),
    ("slow everything down", |_| {
        use rustix::process::{getpriority_user, getuid, setpriority_user};
        Ok(setpriority_user(getuid(), getpriority_user(getuid())?)?)
    }),
    ("take a descriptor of the node", |t| take_descriptor(t.node)),
    ("connect to a Unix socket in a tree", |t| {
        std::os::unix::net::UnixStream::connect(t.root.join("srv/agent.sock")).map(drop)
    }),
    ("connect by TCP", |_| tcp()),
    ("open a UDP socket", |_| {
        std::net::UdpSocket::bind("127.0.0.1:0").map(drop)
    }),
    ("make a user namespace", |_| unshare("--user")),
    ("mount something", |t| mount(&t.root)),
    ("gain root by sudo", |_| gained()),
    ("open another terminal", |_| {
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR)
            .map(drop)
            .map_err(Into::into)
    }),
    ("write to the controlling terminal", |_| {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/tty")
            .map(drop)
    }),
    ("read the kernel's memory", |_| {
        read(Path::new("/proc/kcore"))
    }),
    ("write to a setting of the kernel", |_| {
        append("/proc/sys/kernel/core_pattern")
    }),
    ("see what others share in memory", |t| {
        read(&PathBuf::from(format!("/dev/shm/alknet-{}", t.node)))
    }),
];

/// Exits with 1 if anything succeeded.
pub(crate) fn attack(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let root = PathBuf::from(arguments.next().unwrap());
    let node = arguments.next().unwrap().to_str().unwrap().parse().unwrap();
    let target = Target { root, node };
    if !gained().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        println!("SUCCEEDED: run without walls");
        return ExitCode::FAILURE;
    }
    let mut status = 0;
    for (name, attempt) in TRIES {
        match attempt(&target) {
            Ok(()) => {
                println!("SUCCEEDED: {name}");
                status = 1;
            }
            Err(error) => println!("failed: {name}: {error}"),
        }
    }
    ExitCode::from(status)
}

fn read(path: &Path) -> io::Result<()> {
    use std::io::Read;
    let mut byte = [0];
    match fs::File::open(path)?.read(&mut byte)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn append(path: &str) -> io::Result<()> {
    fs::OpenOptions::new().append(true).open(path).map(drop)
}

fn truncate(path: &Path) -> io::Result<()> {
    Command::new("truncate")
        .args(["-s", "3"])
        .arg(path)
        .status()
        .and_then(succeeded)
}

fn succeeded(status: std::process::ExitStatus) -> io::Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: zero,
        last_modification: zero,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

fn memory(pid: i32) -> io::Result<()> {
    fs::File::open(format!("/proc/{pid}/mem")).map(drop)
}

fn parent() -> i32 {
    rustix::process::getppid().unwrap().as_raw_nonzero().get()
}

/// Signal 0 harms nobody and needs the same rights.
fn signal(pid: i32) -> io::Result<()> {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap())?;
    let descriptor = rustix::process::pidfd_open(
        Pid::from_raw(pid).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )?;
    Ok(rustix::process::pidfd_send_signal(
        descriptor,
        Signal::CONT,
    )?)
}

fn trace(pid: i32) -> io::Result<()> {
    let line = format!(
        "import ctypes,sys\nc=ctypes.CDLL(None,use_errno=True)\n\
         sys.exit(0 if c.ptrace(0x4206,{pid},0,0)==0 else 1)"
    );
    Command::new("python3")
        .args(["-c", &line])
        .status()
        .and_then(succeeded)
}

fn limit(pid: i32) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, prlimit};
    let limits = getrlimit(Resource::Nofile);
    Ok(prlimit(Pid::from_raw(pid), Resource::Nofile, limits).map(drop)?)
}

fn take_descriptor(pid: i32) -> io::Result<()> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
    let pid = Pid::from_raw(pid).unwrap();
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(descriptor, 0, PidfdGetfdFlags::empty()).map(drop)?)
}

fn tcp() -> io::Result<()> {
    std::net::TcpListener::bind("127.0.0.1:0").map(drop)
}

fn unshare(what: &str) -> io::Result<()> {
    Command::new("unshare")
        .args([what, "true"])
        .status()
        .and_then(succeeded)
}

fn mount(root: &Path) -> io::Result<()> {
    let target = root.join("srv");
    Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(target)
        .status()
        .and_then(succeeded)
}

/// Capabilities that a program got back would show there. What no program can
/// get is not looked at (`CapBnd`): without new privileges it counts for nothing.
fn gained() -> io::Result<()> {
    let status = Command::new("cat").arg("/proc/self/status").output()?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let none = status
        .lines()
        .filter(|line| line.starts_with("Cap") && !line.starts_with("CapBnd"))
        .all(|line| line.ends_with("0000000000000000"));
    if none && status.contains("NoNewPrivs:\t1") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}
