//! The errors of starting a process, with the exit status that a shell would
//! give.

use std::io;

use alknet_session::{MAX_REQUEST, SocketError};

/// The status a shell exits with when it cannot run a program.
pub(super) const CANNOT_RUN: u8 = 126;
/// The status a shell exits with when a program does not exist.
const NOT_FOUND: u8 = 127;

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Socket(SocketError),
    #[error("the command and its environment are longer than {MAX_REQUEST} bytes")]
    TooLong,
    #[error("the node's monitor, which starts processes, is gone")]
    NoMonitor,
    #[error("{reason}")]
    Refused { reason: String, status: u8 },
}

impl StartError {
    /// The status that a shell would exit with: 127 for a program that does not
    /// exist, 126 for one that cannot be run.
    pub(crate) fn status(&self) -> u32 {
        let status = match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Refused { status, .. } => *status,
            _ => CANNOT_RUN,
        };
        status.into()
    }
}

impl From<SocketError> for StartError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::TooLarge | SocketError::RequestTooLarge => Self::TooLong,
            error => Self::Socket(error),
        }
    }
}
