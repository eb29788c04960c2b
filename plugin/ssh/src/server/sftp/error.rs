//! The errors that end a file transfer.

use std::io;

use rustix::io::Errno;

use crate::sftp_protocol::frames::LengthError;

/// Why file transfer ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SftpError {
    /// The directory cannot be used as the root.
    #[error("the directory for file transfer cannot be opened: {}", io::Error::from(*.0))]
    Root(Errno),
    /// The input is not a file transfer.
    #[error(
        "a message of {0} bytes: what comes is not a file transfer (is a text printed before it?)"
    )]
    Length(u32),
    /// A message is too short to be answered.
    #[error("a message without a number")]
    NoMessage,
    /// A request came first.
    #[error("a request came before the version")]
    NoInit,
    /// The client speaks no version of the protocol that the server speaks.
    #[error("version {0} of the protocol is not supported, only 3")]
    OldVersion(u32),
    /// The client takes no more answers.
    #[error("the client is gone")]
    Gone,
}

impl From<LengthError> for SftpError {
    fn from(LengthError(length): LengthError) -> Self {
        Self::Length(length)
    }
}
