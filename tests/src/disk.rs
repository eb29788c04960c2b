use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{Run, Setup, TestNode};

/// What a node's private copies lie on: a small file system of their own, where
/// this process may make one, or else the limit of what the node may write to
/// a file (setrlimit(2)).
#[derive(Default)]
pub struct Disk {
    /// The directory with a file system of its own, as the node sees it.
    own: Option<PathBuf>,
}

/// A disk that is full, until this is dropped.
pub enum Full {
    /// By a file.
    By(PathBuf),
    /// By a limit, of this process.
    Limited(Pid),
}

impl Disk {
    /// Starts the node.
    pub fn start(&mut self, setup: Setup) -> TestNode {
        let staging = setup.state().join("staging");
        if may_mount() {
            let script = "mkdir -p -m 700 \"$0\" && mount -t tmpfs -o size=64m,mode=700 none \"$0\" && exec \"$@\"";
            let folder = staging.display().to_string();
            self.own = Some(staging);
            return TestNode::start_under(&["unshare", "-m", "sh", "-c", script, &folder], setup);
        }
        // A limit that is met shall be an error, not a signal.
        let script = "trap '' XFSZ; exec \"$@\"";
        TestNode::start_under(&["sh", "-c", script, "sh"], setup)
    }

    /// Leaves no room on it.
    pub fn fill(&self, node: &TestNode) -> Full {
        let Some(staging) = &self.own else {
            let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
            limit(pid, Some(4096));
            return Full::Limited(pid);
        };
        // The node's own view of it.
        let root = format!("/proc/{}/root", node.pid());
        let inside = Path::new(&root).join(staging.strip_prefix("/").unwrap());
        let path = inside.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        Full::By(path)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        match self {
            Self::By(path) => fs::remove_file(path).unwrap(),
            Self::Limited(pid) => limit(*pid, None),
        }
    }
}

fn limit(pid: Pid, bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

fn may_mount() -> bool {
    let mount = "mount -t tmpfs none /tmp";
    let tried = Run::new("unshare").args(["-m", "sh", "-c", mount]);
    Path::new("/usr/bin/unshare").exists() && tried.ended().status.success()
}
