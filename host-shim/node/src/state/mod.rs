//! The state directory: everything that makes a node the node it is.

pub(crate) mod last_logins;
pub(crate) mod replace_file;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The directory, within the state directory, of what a node writes that runs as a
/// user of its own beside the monitor.
pub(crate) const RUN: &str = "run";

/// The directory, within the state directory, with the records of the node's
/// certificate authority.
pub(crate) const AUTHORITY: &str = "ca";

/// The state directory of the packaged node.
const PACKAGED: &str = "/var/lib/alknet";
/// The systemd unit of the packaged node.
const UNIT: &str = "alknet-node.service";

/// A state directory and the names within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The directory at `root`. A relative path counts from the present working
    /// directory, once and for all.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            root: std::path::absolute(&root).unwrap_or(root),
        }
    }

    /// `$XDG_STATE_HOME/alknet`, or `~/.local/state/alknet` (XDG Base
    /// Directory Specification). `None` where there is no home directory.
    pub fn default_location() -> Option<Self> {
        let base = match env::var_os("XDG_STATE_HOME").map(PathBuf::from) {
            Some(path) if path.is_absolute() => path,
            _ => home()?.join(".local/state"),
        };
        Some(Self::new(base.join("alknet")))
    }

    /// The state directory of the packaged node.
    pub fn packaged() -> Self {
        Self::new(PACKAGED)
    }

    /// Whether this is the directory of the packaged node, and systemd starts
    /// it.
    pub(crate) fn is_started_by_systemd(&self) -> bool {
        let units = ["/usr/lib/systemd/system", "/lib/systemd/system"];
        self.root == Path::new(PACKAGED)
            && units
                .iter()
                .any(|units| Path::new(units).join(UNIT).exists())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration file: `node.toml`, or `node.json` where that exists.
    pub fn config_file(&self) -> PathBuf {
        let json = self.root.join("node.json");
        if json.exists() {
            json
        } else {
            self.root.join("node.toml")
        }
    }

    /// Whether the directory has been initialised.
    pub fn is_initialised(&self) -> bool {
        self.config_file().exists()
    }

    /// The peers file that `init` makes.
    pub fn peers_file(&self) -> PathBuf {
        self.root.join("peers.toml")
    }

    /// The directory that the node writes to in accounts mode.
    pub(crate) fn run_directory(&self) -> PathBuf {
        self.root.join(RUN)
    }

    /// The directory with the records of the node's certificate authority.
    pub(crate) fn authority_directory(&self) -> PathBuf {
        self.root.join(AUTHORITY)
    }

    /// The private key that `up` makes for a caller who has none.
    pub fn client_key(&self) -> PathBuf {
        self.root.join("client_key")
    }
}

/// Waits until no other process has the directory locked, and locks it for as
/// long as the returned file is open (flock(2)).
pub(crate) fn lock_dir(dir: &Path) -> io::Result<File> {
    let file = File::open(dir)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The caller's home directory.
pub(crate) fn home() -> Option<PathBuf> {
    env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// The directory for private copies of libraries, within the state directory.
pub(crate) const STAGING: &str = "staging";

/// The directory of the guests' homes beside a state directory.
pub(crate) fn guest_homes(state: &Path) -> PathBuf {
    let mut name = state
        .file_name()
        .map_or_else(|| OsString::from("alknet"), OsString::from);
    name.push("-guests");
    state.with_file_name(name)
}

/// The owner's keys and settings of ssh, which no guest reaches.
pub(crate) fn owners_keys() -> Option<PathBuf> {
    home().map(|home| home.join(".ssh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_live_beside_the_state_directory() {
        let homes = guest_homes(Path::new("/var/lib/alknet"));
        assert_eq!(homes, Path::new("/var/lib/alknet-guests"));
    }
}
