//! Unix accounts as the system's name service knows them (nsswitch.conf(5),
//! passwd(5)).

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getgid, getgrouplist, getgroups, getuid};

/// The shell of an account whose entry names none (passwd(5)).
const SHELL: &str = "/bin/sh";

/// An account of this system, as its name service knows it (nsswitch.conf(5)).
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

/// The numbers of an account, and its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountIds {
    /// Its user id.
    pub user: u32,
    /// The id of its first group.
    pub group: u32,
    /// The ids of all its groups.
    pub groups: Vec<u32>,
    /// Its login shell.
    pub shell: PathBuf,
}

impl AccountIds {
    /// The numbers of the account with this name; `None` if there is no such
    /// account.
    ///
    /// # Errors
    /// When the name service failed.
    pub fn of(name: &str) -> io::Result<Option<Self>> {
        let account = Account::named(name)?;
        Ok(account.map(|account| Self {
            user: account.uid.as_raw(),
            group: account.gid.as_raw(),
            groups: account.groups.iter().map(|group| group.as_raw()).collect(),
            shell: account.shell,
        }))
    }
}

impl Account {
    /// The account with this name, with its supplementary groups; `None` if
    /// there is no such account.
    ///
    /// # Errors
    /// When the name service failed.
    pub(crate) fn named(name: &str) -> io::Result<Option<Self>> {
        let Some(user) = User::from_name(name)? else {
            return Ok(None);
        };
        let groups = getgrouplist(&CString::new(name)?, user.gid)?;
        Ok(Some(Self {
            groups,
            ..Self::of(user)
        }))
    }

    /// The account of this process. What the system does not know of it is
    /// taken from `USER` and `HOME`.
    pub(crate) fn current() -> Self {
        let known = User::from_uid(getuid()).ok().flatten();
        let account = known.map_or_else(
            || Self {
                name: std::env::var("USER").unwrap_or_else(|_| getuid().to_string()),
                uid: getuid(),
                gid: getgid(),
                groups: Vec::new(),
                home: std::env::home_dir().unwrap_or_default(),
                shell: PathBuf::new(),
            },
            Self::of,
        );
        Self {
            uid: getuid(),
            gid: getgid(),
            groups: getgroups().unwrap_or_default(),
            home: absolute_or(&account.home, "/"),
            shell: absolute_or(&account.shell, SHELL),
            ..account
        }
    }

    fn of(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            groups: Vec::new(),
            home: absolute_or(&user.dir, "/"),
            shell: absolute_or(&user.shell, SHELL),
        }
    }
}

fn absolute_or(path: &Path, otherwise: &str) -> PathBuf {
    let usable = path.is_absolute() && !path.as_os_str().as_bytes().contains(&0);
    if usable { path } else { Path::new(otherwise) }.to_owned()
}
