//! One connection for many commands, kept by a background process, as ssh does
//! with ControlMaster (ADR 45).

pub(crate) mod command;
mod folder;
mod lock;
mod master;
pub(crate) mod message;
mod serve;
mod settings;
mod spawn;
mod user;
mod wire;

use std::io;
use std::path::PathBuf;

pub(crate) use folder::FolderError;
pub(crate) use master::keep;
pub(crate) use settings::Sharing;
pub(crate) use user::{give, start};

/// Why a connection cannot be shared. What can be told before the command was,
/// and is no reason to refuse, is told as a notice instead; the command then has
/// a connection of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(
        "the control socket {} has a name of {length} bytes, and a system takes 107: choose a shorter one with -o ControlPath", path.display()
    )]
    TooLong { path: PathBuf, length: usize },
    #[error(
        "there is no place for a control socket: set HOME or XDG_RUNTIME_DIR, or give one with -o ControlPath"
    )]
    NoPlace,
    #[error("ControlPath is none, so that there is nobody to ask")]
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
