//! The errors of file transfer, and the status codes of the server
//! (draft-ietf-secsh-filexfer-02 section 7).

use super::super::ClientError;
use crate::sftp_protocol::frames::LengthError;
use crate::sftp_protocol::wire::Malformed;

/// Why a request about the server's files did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The server refused the request, or failed to carry it out.
    #[error("{words}")]
    Refused {
        /// The status that the server gave.
        status: Status,
        /// The server's words, without control characters.
        words: String,
    },
    /// The server has no such service for this user.
    #[error("the node serves no files to you{}", because(.words))]
    NotServed {
        /// The server's message, if it sent any.
        words: String,
    },
    /// The channel or the connection has ended.
    #[error("the connection is lost")]
    Lost,
    /// What the server sends makes no sense.
    #[error("the node sent {0}")]
    Protocol(&'static str),
    /// A listing holds more than the caller takes.
    #[error("there is too much in it")]
    TooMany,
    /// The channel could not be opened.
    #[error(transparent)]
    Ssh(ClientError),
}

/// How a request ended (draft-ietf-secsh-filexfer-02 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The file or directory has no more to read.
    EndOfFile,
    /// The file does not exist.
    NoSuchFile,
    /// The user is not permitted to do it.
    PermissionDenied,
    /// The request failed for another reason.
    Failure,
    /// The server does not support the request.
    Unsupported,
    /// A status that this client does not know.
    Other(u32),
}

impl FilesError {
    /// The server's status, where it gave one.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it is the connection that failed, and the same may succeed over
    /// another one.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Lost => true,
            Self::Ssh(error) => matches!(
                error,
                ClientError::Closed | ClientError::Timeout(_) | ClientError::Protocol(_)
            ),
            _ => false,
        }
    }
}

impl From<u32> for Status {
    fn from(code: u32) -> Self {
        match code {
            1 => Self::EndOfFile,
            2 => Self::NoSuchFile,
            3 => Self::PermissionDenied,
            4 => Self::Failure,
            8 => Self::Unsupported,
            other => Self::Other(other),
        }
    }
}

impl From<ClientError> for FilesError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::CommandRefused => Self::NotServed {
                words: String::new(),
            },
            ClientError::Closed => Self::Lost,
            error => Self::Ssh(error),
        }
    }
}

impl From<Malformed> for FilesError {
    fn from(_: Malformed) -> Self {
        Self::Protocol("an answer that is cut short")
    }
}

impl From<LengthError> for FilesError {
    fn from(_: LengthError) -> Self {
        Self::Protocol("something that is not a file transfer")
    }
}

fn because(words: &str) -> String {
    match words.trim() {
        "" => ": that takes services.sftp in its configuration, and the scope ssh:sftp".to_owned(),
        words => format!(": {words}"),
    }
}
