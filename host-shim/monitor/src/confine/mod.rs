//! What keeps a process away from everything but what it was granted: Landlock
//! for files, TCP, signals and tracing; a mount namespace in which all else is
//! read-only, since Landlock does not cover modes and owners of files; seccomp
//! for what neither covers between processes of one account.

mod capabilities;
mod landlock;
mod seccomp;
mod system;
mod view;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use alknet_session::Confinement;
use rustix::fs::{CWD, Mode, OFlags, openat};

pub(crate) use capabilities::{drop_capabilities, limit_capabilities};
pub(crate) use seccomp::Filters;
pub(crate) use system::system_trees;
pub(crate) use view::is_possible as can_have_view;

/// The private temporary directory, in a confined process's home.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Whether processes can be confined on this machine.
///
/// # Errors
/// One line for people: what is missing and what to do.
pub fn confinement_support() -> Result<(), String> {
    landlock::abi().map(drop).map_err(|error| {
        format!(
            "this kernel does not offer Landlock ({error}), without which peers' processes cannot \
             be confined; enable it (CONFIG_SECURITY_LANDLOCK, and \"landlock\" in the lsm= \
             boot parameter)"
        )
    })
}

/// The walls around a process that is about to be executed. Built before its
/// rights are dropped ([`Walls::new`]) and raised afterwards ([`Walls::raise`]).
pub(crate) struct Walls<'a> {
    confinement: &'a Confinement,
    filters: &'a Filters,
    system: &'a [PathBuf],
    private: &'a [PathBuf],
    temporary: PathBuf,
    /// Whether the process sees the file system read-only, so that it cannot
    /// change modes and owners outside its trees.
    has_view: bool,
}

impl<'a> Walls<'a> {
    /// Makes this process's view of the file system read-only but for what it
    /// may write to, where `has_view` says that the system lets it.
    pub(crate) fn new(
        confinement: &'a Confinement,
        filters: &'a Filters,
        system: &'a [PathBuf],
        private: &'a [PathBuf],
        has_view: bool,
    ) -> io::Result<Self> {
        let temporary = confinement.home.join(TEMPORARY);
        if has_view {
            view::enter(confinement, &temporary)?;
        }
        Ok(Self {
            confinement,
            filters,
            system,
            private,
            temporary,
            has_view,
        })
    }

    /// Raises the walls around this process, for good. `files` are those it
    /// must be able to read and execute beside; `terminal` is its terminal.
    pub(crate) fn raise(self, files: &[&OwnedFd], terminal: Option<&OwnedFd>) -> io::Result<()> {
        let trees = self.confinement.trees.iter();
        let opened: Vec<_> = trees
            // A tree that is not there, or out of the account's reach, is none.
            .filter_map(|tree| Some((open(&tree.path).ok()?, tree.write)))
            .collect();
        for (tree, _) in &opened {
            self.refuse_private(tree)?;
        }
        let mut rules = landlock::Rules::new(self.confinement.network)?;
        for path in self.system {
            rules = rules.read_and_execute(&open_or_skip(path))?;
        }
        rules = rules.devices()?;
        for path in ["/proc", "/sys/devices/system/cpu"] {
            rules = rules.read(&open_or_skip(Path::new(path)))?;
        }
        if self.confinement.network {
            // Where resolv.conf(5) leads on systems with systemd-resolved.
            rules = rules.read(&open_or_skip(Path::new("/run/systemd/resolve")))?;
        }
        for file in files {
            rules = rules.read_and_execute(&Some(*file))?;
        }
        if let Some(terminal) = terminal {
            rules = rules.terminal(terminal)?;
        }
        for path in [&self.confinement.home, &self.temporary] {
            rules = rules.everything(&Some(open(path)?))?;
        }
        for (tree, write) in &opened {
            rules = match write {
                true => rules.everything(&Some(tree))?,
                false => rules.read_and_execute(&Some(tree))?,
            };
        }
        let abi = rules.enforce()?;
        self.filters
            .apply(abi, self.confinement.network, self.has_view)
    }

    /// Refuses a tree through which the node's own files could be reached. The
    /// path is the real one of what was opened.
    fn refuse_private(&self, tree: &OwnedFd) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", tree.as_raw_fd()))?;
        let overlaps = |private: &PathBuf| {
            let private = std::fs::canonicalize(private).unwrap_or_else(|_| private.clone());
            real.starts_with(&private) || private.starts_with(&real)
        };
        if self.private.iter().any(overlaps) {
            let message = format!(
                "{} holds or lies in a directory of the node itself; take it out of the peer's \
                 files",
                real.display()
            );
            return Err(io::Error::other(message));
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a directory; `None` where the system does not have it.
fn open_or_skip(path: &Path) -> Option<OwnedFd> {
    open(path).ok()
}
