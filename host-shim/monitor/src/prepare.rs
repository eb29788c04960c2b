//! What is looked up and made for a job before its leader is forked.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use alknet_session::{Confinement, Start, UnixTarget};
use nix::unistd::{setegid, seteuid};
use rustix::fs::{Gid, Uid, fchown, fstat, major};

use crate::account::Account;
use crate::accounts::{Grant, grant};
use crate::confine::TEMPORARY;
use crate::context::Context;
use crate::leader::{StartError, become_account};
use crate::login_defs::LoginDefs;
use crate::program::{Base, Command, command, environment};
use crate::task::Task;

/// What a leader needs beside the request itself.
pub(crate) struct Prepared {
    pub(crate) home: PathBuf,
    pub(crate) environment: Vec<CString>,
    pub(crate) command: Command,
    /// The account to become; `None` where the monitor's own is meant.
    pub(crate) account: Option<Account>,
    pub(crate) confinement: Option<Confinement>,
    pub(crate) umask: Option<u32>,
    #[cfg(feature = "pam")]
    pub(crate) session: Option<crate::pam::Session>,
}

/// Looks everything up that a job needs.
///
/// # Errors
/// When the job is refused.
pub(crate) fn prepare(task: &Task<'_>) -> Result<Prepared, StartError> {
    let context = task.context;
    match &context.config.accounts {
        None => prepare_own(context, &task.start),
        Some(accounts) => {
            let wanted = task.start.account.as_deref().unwrap_or_default();
            let grant = grant(accounts, &task.start.identity, wanted)?;
            if task.start.terminal {
                let [terminal, ..] = &task.streams;
                give_terminal(terminal, &grant.account)
                    .map_err(|error| StartError::at("the terminal", error))?;
            }
            prepare_account(task, grant)
        }
    }
}

/// Prepares a job in owner mode.
fn prepare_own(context: &Context, start: &Start) -> Result<Prepared, StartError> {
    let own = &context.own;
    let confinement = start.confinement.clone();
    if let Some(confinement) = &confinement {
        context.confinement.clone().map_err(StartError::new)?;
        make_home(&context.config.guest_homes, &confinement.home)
            .map_err(|error| StartError::at("the home directory", error))?;
    }
    let guest_home = confinement.as_ref().map(|confinement| &confinement.home);
    let home = guest_home.unwrap_or(&own.home).clone();
    let base = Base {
        account: own,
        home: &home,
        temporary: guest_home.map(|home| home.join(TEMPORARY)),
        path: None,
        more: Vec::new(),
    };
    let (environment, path) = environment(&base, start);
    Ok(Prepared {
        command: command(start, own, &path),
        home,
        environment,
        account: None,
        confinement,
        umask: start.umask,
        #[cfg(feature = "pam")]
        session: None,
    })
}

/// Prepares a job in accounts mode.
fn prepare_account(task: &Task<'_>, grant: Grant) -> Result<Prepared, StartError> {
    let (context, start) = (task.context, &task.start);
    let Grant {
        account,
        confinement,
    } = grant;
    if confinement.is_some() {
        context.confinement.clone().map_err(StartError::new)?;
        make_as(&account, &account.home.join(TEMPORARY))
            .map_err(|error| StartError::at("the temporary directory", error))?;
    }
    let settings = LoginDefs::read(account.uid.is_root());
    let mail = Path::new("/var/mail").join(&account.name);
    let temporary = account.home.join(TEMPORARY);
    #[cfg_attr(not(feature = "pam"), expect(unused_mut))]
    let mut more = vec![("MAIL".into(), mail.into_os_string())];
    #[cfg(feature = "pam")]
    let session = open_session(task, &account)?;
    #[cfg(feature = "pam")]
    more.extend(session.environment());
    let base = Base {
        account: &account,
        home: &account.home,
        temporary: confinement.is_some().then_some(temporary),
        path: Some(settings.path),
        more,
    };
    let (environment, path) = environment(&base, start);
    Ok(Prepared {
        command: command(start, &account, &path),
        home: account.home.clone(),
        environment,
        umask: Some(start.umask.unwrap_or(settings.umask)),
        confinement,
        account: Some(account),
        #[cfg(feature = "pam")]
        session: Some(session),
    })
}

#[cfg(feature = "pam")]
fn open_session(task: &Task<'_>, account: &Account) -> Result<crate::pam::Session, StartError> {
    let start = &task.start;
    let [terminal, ..] = &task.streams;
    let terminal = start
        .terminal
        .then(|| rustix::termios::ttyname(terminal, Vec::new()).ok())
        .flatten();
    crate::pam::Session::open(&account.name, start.remote.as_deref(), terminal.as_deref())
}

/// Gives this process the rights of the peer that a Unix socket is for.
pub(crate) fn become_owner_of(context: &Context, target: &UnixTarget) -> io::Result<()> {
    let Some(accounts) = &context.config.accounts else {
        return Ok(());
    };
    let wanted = target.account.as_deref().unwrap_or_default();
    let granted = grant(accounts, &target.identity, wanted);
    granted
        .and_then(|grant| become_account(&grant.account))
        .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error.reason))
}

/// Gives a terminal that the node opened to an account, as OpenSSH's
/// `pty_setowner` does.
fn give_terminal(terminal: &OwnedFd, account: &Account) -> io::Result<()> {
    // Unix98 pty slaves (admin-guide/devices.txt of the kernel), and nothing
    // else that the node might pass.
    const SLAVES: std::ops::RangeInclusive<u32> = 136..=143;
    if !SLAVES.contains(&major(fstat(terminal)?.st_rdev)) || !rustix::termios::isatty(terminal) {
        return Err(io::Error::other("not a pseudo-terminal"));
    }
    let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
    Ok(fchown(
        terminal,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?)
}

/// Makes a directory as an account, so that no link of the account's leads
/// root anywhere.
fn make_as(account: &Account, directory: &Path) -> io::Result<()> {
    let root = (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0));
    setegid(account.gid)?;
    seteuid(account.uid)?;
    let made = make(directory);
    seteuid(root.0)?;
    setegid(root.1)?;
    made
}

/// Makes a guest's home and its temporary directory, which lies directly in
/// the directory for them.
fn make_home(homes: &Path, home: &Path) -> io::Result<()> {
    if home.parent() != Some(homes) || home.file_name().is_none() {
        return Err(io::Error::other("it does not lie where guests' homes do"));
    }
    make(homes)?;
    for directory in [home, &home.join(TEMPORARY)] {
        make(directory)?;
        // What the guest itself could put there leads nowhere else.
        if !std::fs::symlink_metadata(directory)?.is_dir() {
            let message = format!("{} is not a directory", directory.display());
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

fn make(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}
