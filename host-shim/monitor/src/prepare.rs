//! What is looked up for a job before its leader is forked.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use alknet_session::{Confinement, UnixTarget};

use crate::account::Account;
use crate::confine::TEMPORARY;
use crate::context::Context;
use crate::keeper::Task;
use crate::leader::StartError;
use crate::program::{Base, Command, command, environment};

/// What a leader is told beside the request itself.
pub(crate) struct Prepared {
    pub(crate) home: PathBuf,
    pub(crate) environment: Vec<CString>,
    pub(crate) command: Command,
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
    let own = &task.context.own;
    let confinement = task.start.confinement.clone();
    if let Some(confinement) = &confinement {
        task.context.confinement.clone().map_err(StartError::new)?;
        make_home(&task.context.config.guest_homes, &confinement.home)
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
    let (environment, path) = environment(&base, &task.start);
    Ok(Prepared {
        command: command(&task.start, own, &path),
        home,
        environment,
        account: None,
        confinement,
        umask: task.start.umask,
        #[cfg(feature = "pam")]
        session: None,
    })
}

/// Gives this process the rights of the peer that a Unix socket is for.
pub(crate) fn become_owner_of(context: &Context, target: &UnixTarget) -> io::Result<()> {
    let _ = (context, target);
    Ok(())
}

/// Makes a guest's home and its temporary directory, which lies directly in
/// the directory for them.
fn make_home(homes: &Path, home: &Path) -> io::Result<()> {
    if home.parent() != Some(homes) || home.file_name().is_none() {
        return Err(io::Error::other("it does not lie where guests' homes do"));
    }
    for directory in [homes, home, &home.join(TEMPORARY)] {
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        // What the guest itself could put there leads nowhere else.
        if directory != homes && !std::fs::symlink_metadata(directory)?.is_dir() {
            let message = format!("{} is not a directory", directory.display());
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}
