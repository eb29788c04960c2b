//! The errors of the client, and the reasons for which a server does not open
//! a channel.

use super::tried::Tried;
use super::trust::HostKeyError;
use crate::connection::open_failure::OpenFailure;

/// Why a request to an SSH server did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller did not accept the server's host key.
    #[error("the server's host key is not the one expected")]
    HostKeyRefused,
    /// The server is not taken for the right one.
    #[error(transparent)]
    HostKey(#[from] Box<HostKeyError>),
    /// The server does not accept this user with this key.
    #[error("the server refused the key")]
    AuthenticationFailed,
    /// The server accepts none of the user's keys.
    #[error("cannot log in as {user:?}: {}", no_key(tried))]
    NoKeyAccepted {
        /// The user name that was given.
        user: String,
        /// The keys, in the order they were tried.
        tried: Vec<Tried>,
    },
    /// The server ended the connection instead of trying more keys.
    #[error("cannot log in: the server closed the connection; {}", no_key(tried))]
    LoginCutOff {
        /// The keys, in the order they were tried.
        tried: Vec<Tried>,
    },
    /// The server does not open a channel.
    #[error("the server refused to open a channel: {0}")]
    ChannelRefused(OpenRefusal),
    /// The server does not run this command for this user.
    #[error("the server refused to run the command")]
    CommandRefused,
    /// The server does not listen there for this user.
    #[error("the server refused to listen there")]
    ForwardRefused,
    /// An answer did not come in time; the text says which.
    #[error("no answer from the server in time ({0})")]
    Timeout(&'static str),
    /// The connection ended.
    #[error("the connection is closed")]
    Closed,
    /// The protocol or the stream under it failed.
    #[error("the SSH connection failed: {0}")]
    Protocol(#[source] russh::Error),
}

/// Why a server does not open a channel (RFC 4254 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// The user may not (reason code 1).
    #[error("administratively prohibited")]
    Prohibited,
    /// The target cannot be reached (reason code 2), and the server does not say
    /// why. A server of ours does, and the next four stand for it.
    #[error("connect failed")]
    ConnectFailed,
    /// The target refused the connection.
    #[error("connection refused")]
    Refused,
    /// The server has no route to the target.
    #[error("no route to host")]
    Unreachable,
    /// The target's name is not known to the server.
    #[error("name or service not known")]
    NoAddress,
    /// The target did not answer in time.
    #[error("connection timed out")]
    TimedOut,
    /// The server does not know this kind of channel (reason code 3).
    #[error("unknown channel type")]
    UnknownType,
    /// The server has too much to do (reason code 4).
    #[error("resource shortage")]
    Shortage,
    /// A reason that RFC 4254 does not name.
    #[error("reason code {0}")]
    Other(u32),
}

impl From<russh::ChannelOpenFailure> for OpenRefusal {
    fn from(reason: russh::ChannelOpenFailure) -> Self {
        match reason.code() {
            1 => Self::Prohibited,
            2 => Self::ConnectFailed,
            3 => Self::UnknownType,
            4 => Self::Shortage,
            code => match OpenFailure::from_code(code) {
                Some(OpenFailure::Refused) => Self::Refused,
                Some(OpenFailure::Unreachable) => Self::Unreachable,
                Some(OpenFailure::NoAddress) => Self::NoAddress,
                Some(OpenFailure::TimedOut) => Self::TimedOut,
                None => Self::Other(code),
            },
        }
    }
}

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::UnknownKey => Self::HostKeyRefused,
            russh::Error::ChannelOpenFailure(reason) => Self::ChannelRefused(reason.into()),
            russh::Error::RequestDenied => Self::ForwardRefused,
            russh::Error::Disconnect | russh::Error::SendError | russh::Error::HUP => Self::Closed,
            error => Self::Protocol(error),
        }
    }
}

fn no_key(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return "there is no key to log in with; make one with ssh-keygen -t ed25519, \
                or name one with -i FILE"
            .to_owned();
    }
    let mut text = "no key was accepted; tried".to_owned();
    for tried in tried {
        text.push_str("\n  ");
        text.push_str(&tried.to_string());
    }
    text
}
