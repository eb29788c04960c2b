//! What keeps a connection from being shared.

use std::io;
use std::path::PathBuf;

/// Why a connection cannot be shared. What can be told before the command was,
/// and is not a reason to refuse, is told as a notice instead; the command then has
/// a connection of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(
        "the control socket {} has a name of {length} bytes, and a system takes 107: choose a shorter one with -o ControlPath", path.display()
    )]
    TooLong { path: PathBuf, length: usize },
    #[error(
        "there is no place for a control socket: set HOME or XDG_RUNTIME_DIR, or give one with -o ControlPath"
    )]
    NoPlace,
    #[error("ControlPath is `none`, so that there is nobody to ask")]
    NoPath,
    #[error("no process keeps a connection to {node}: nobody listens at {}", path.display())]
    NoMaster { node: String, path: PathBuf },
    #[error("cannot use the control socket {}: {why}", path.display())]
    Unfit { path: PathBuf, why: String },
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot start the process that is to keep the connection: {0}")]
    Spawn(#[source] io::Error),
    #[error("cannot listen at {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot go to the background: {0}")]
    Detach(#[source] io::Error),
    #[error("this is for exec to start: use alknet exec -o ControlMaster=auto")]
    NotStartedByExec,
    #[error("{0}")]
    Refused(String),
    #[error("cannot make the pipes for the command: {0}")]
    Pipes(#[source] io::Error),
    #[error(
        "lost the process that keeps the connection, and cannot tell whether the command has run"
    )]
    Lost,
    /// The process that was to keep the connection has told the user why it does
    /// not.
    #[error("there is no connection")]
    Told,
}

/// Why a directory is not a place for the socket: whoever can get at it can run
/// commands on the node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("cannot make the directory {} for the control socket: {source}", path.display())]
    NotMade { path: PathBuf, source: io::Error },
    #[error("there is no directory {} for the control socket: {source}", path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("{}, where the control socket is to lie, is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error(
        "the directory {} of the control socket belongs to another user (uid {owner}): choose one of yours with -o ControlPath",
        path.display()
    )]
    NotYours { path: PathBuf, owner: u32 },
    #[error(
        "others can get into the directory {path} of the control socket (mode {mode:04o}): choose a directory of your own with -o ControlPath, or close this one if nobody else needs it (chmod 700 {path})",
        path = path.display()
    )]
    Open { path: PathBuf, mode: u32 },
}
