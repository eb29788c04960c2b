//! A node's disk that a test can fill, without filling the machine's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{Run, Setup, TestNode};

/// What a node's private copies lie on: a small file system of their own, where
/// this process may make one, or else the limit of what the node may write to
/// a file (setrlimit(2)).
#[derive(Default)]
pub struct Disk {
    /// The directory with a file system of its own, as the node sees it.
    own: Option<PathBuf>,
    /// Holds the file system between one node and the next.
    holder: Option<Holder>,
}

/// A disk that is full, until this is dropped.
pub enum Full {
    /// Full because of this file.
    By(PathBuf),
    /// Full because of a limit on this process.
    Limited(Pid),
}

impl Disk {
    /// One that outlives its node: `directory`, with the private copies in it
    /// as well, for nodes that are started one after the other.
    pub fn lasting(setup: &Setup, directory: &Path) -> Self {
        if !may_mount() {
            fs::create_dir(directory).unwrap();
            return Self::default();
        }
        Self {
            own: Some(directory.to_owned()),
            holder: Some(Holder::mount(directory, &setup.state().join("staging"))),
        }
    }

    /// Starts the node.
    pub fn start(&mut self, setup: Setup) -> TestNode {
        self.start_under(&[], setup)
    }

    /// Starts the node by another program that becomes it.
    pub fn start_under(&mut self, wrapper: &[&str], setup: Setup) -> TestNode {
        let staging = setup.state().join("staging");
        let started = |before: &[&str]| TestNode::start_under(&[before, wrapper].concat(), setup);
        if let Some(holder) = &self.holder {
            return started(&["nsenter", &holder.namespace(), "--"]);
        }
        if may_mount() {
            let script = "mkdir -p -m 700 \"$0\" && mount -t tmpfs -o size=64m,mode=700 none \"$0\" && exec \"$@\"";
            let directory = staging.display().to_string();
            self.own = Some(staging);
            return started(&["unshare", "-m", "sh", "-c", script, &directory]);
        }
        // A limit that is met shall be an error, not a signal.
        let script = "trap '' XFSZ; exec \"$@\"";
        started(&["sh", "-c", script, "sh"])
    }

    /// A path as this process has it, of a file that the node sees as `path`.
    pub fn outside(&self, path: &Path) -> PathBuf {
        match &self.holder {
            Some(holder) => seen_by(holder.0.id(), path),
            None => path.to_owned(),
        }
    }

    /// Leaves no room on it.
    pub fn fill(&self, node: &TestNode) -> Full {
        let Some(own) = &self.own else {
            let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
            limit(pid, Some(4096));
            return Full::Limited(pid);
        };
        // A lasting one may outlive the node.
        let holder = self.holder.as_ref().map(|holder| holder.0.id());
        let path = seen_by(holder.unwrap_or(node.pid()), own).join("ballast");
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

/// A process that does nothing but keep its mounts.
struct Holder(Child);

impl Holder {
    fn mount(directory: &Path, staging: &Path) -> Self {
        let script = "mkdir -p -m 700 \"$0\" \"$1\" && mount -t tmpfs -o size=128m,mode=700 none \"$0\" \
             && mkdir -m 700 \"$0/staging\" && mount --bind \"$0/staging\" \"$1\" && echo ready && exec sleep infinity";
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .args([directory, staging])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the file system is not mounted");
        Self(child)
    }

    fn namespace(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A path in the file systems that another process sees.
fn seen_by(pid: u32, path: &Path) -> PathBuf {
    let root = format!("/proc/{pid}/root");
    Path::new(&root).join(path.strip_prefix("/").unwrap())
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
