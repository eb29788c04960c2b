//! The reasons for which an SSH connection ends, with their words and codes
//! (RFC 4253 section 11.1).

use std::io::ErrorKind;

use russh::Disconnect;

use crate::server::admission::Offence;
use crate::server::metrics::SessionEnd;

/// Why an SSH connection ended, or is to end; what the peer and the log are
/// told.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SessionEndReason {
    #[error("the session ended")]
    Normal,
    #[error("the peer went away")]
    PeerGone,
    #[error("the time to log in is over")]
    LoginGrace,
    #[error("too many authentication failures")]
    TooManyFailures,
    #[error("the service asked for is not available before the log-in")]
    NoService,
    #[error("the server is about to stop; connect again")]
    Drained,
    #[error("{0}; connect again")]
    Replaced(String),
    #[error("the time a session may last is over")]
    Lifetime,
    #[error("the peer is silent")]
    Silence,
    #[error("no channel was open for as long as this node waits")]
    Unused,
    #[error("your access to this node has been withdrawn")]
    Revoked,
    #[error("your access to this node could not be confirmed")]
    Unconfirmed,
    #[error("what it listened on has moved to a newer session of yours; connect again")]
    TakenOver,
    #[error("the operator closed the session")]
    Closed,
    #[error("a channel's data exceeds its window")]
    WindowExceeded,
    #[error("{0}")]
    Failed(String),
}

impl SessionEndReason {
    /// The reason for which russh's session broke off by itself.
    pub(crate) fn of_error(error: russh::Error) -> Self {
        match error {
            // How every session of a stock client ends: ssh has its ProxyCommand
            // ended, which closes the connection under the stream.
            russh::Error::IO(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof
                        | ErrorKind::NotConnected
                        | ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe
                ) =>
            {
                Self::PeerGone
            }
            error => Self::Failed(error.to_string()),
        }
    }

    /// Whether the session's processes end with it, those left behind too.
    pub(crate) fn takes_jobs(&self) -> bool {
        matches!(self, Self::Revoked | Self::Unconfirmed | Self::Closed)
    }

    /// The reason code of the disconnect message (RFC 4253 section 11.1).
    pub(crate) fn disconnect(&self) -> Disconnect {
        match self {
            Self::NoService => Disconnect::ServiceNotAvailable,
            _ => Disconnect::ByApplication,
        }
    }

    /// The offence that the address is penalised for when nobody had logged in
    /// by then.
    pub(crate) fn offence(&self, refused: bool) -> Option<Offence> {
        match self {
            Self::LoginGrace => Some(Offence::GraceExceeded),
            // Our own doing.
            Self::Drained
            | Self::Replaced(_)
            | Self::Lifetime
            | Self::Closed
            | Self::Unused
            | Self::TakenOver => None,
            _ if refused => Some(Offence::AuthFailed),
            _ => Some(Offence::NoAuth),
        }
    }

    pub(crate) fn label(&self) -> SessionEnd {
        match self {
            Self::Normal | Self::PeerGone => SessionEnd::Normal,
            Self::LoginGrace => SessionEnd::LoginGrace,
            Self::Drained | Self::Replaced(_) => SessionEnd::Drained,
            Self::Lifetime => SessionEnd::Lifetime,
            Self::Silence | Self::Unused | Self::TakenOver => SessionEnd::Idle,
            Self::Revoked | Self::Unconfirmed => SessionEnd::Revoked,
            Self::Closed => SessionEnd::Closed,
            Self::TooManyFailures | Self::NoService | Self::WindowExceeded | Self::Failed(_) => {
                SessionEnd::Error
            }
        }
    }
}
