//! The account that the program runs as.

use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, User, getuid};

/// An account of this system (passwd(5)).
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) home: PathBuf,
}

/// Whether this process can become somebody else.
pub(crate) fn is_privileged() -> bool {
    getuid().is_root()
}

impl Account {
    /// The account of that name, if there is one.
    pub(crate) fn named(name: &str) -> io::Result<Option<Self>> {
        Ok(User::from_name(name)?.map(|user| Self {
            uid: user.uid,
            gid: user.gid,
            home: user.dir,
        }))
    }

    /// Whether this process runs as this account.
    pub(crate) fn is_own(&self) -> bool {
        self.uid == getuid()
    }
}
