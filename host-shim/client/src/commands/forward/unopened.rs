//! What keeps a destination from being connected to.

use std::io;

use alknet_socks5::Reply;
use alknet_ssh::client::OpenRefusal;

/// Why a destination could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error("the node says: {0}")]
    Refused(OpenRefusal),
    #[error("there was no connection to the node for too long")]
    NoNode,
    #[error("{0}")]
    Local(#[from] io::Error),
    #[error("the path of a socket at the node must be UTF-8")]
    Path,
}

impl Unopened {
    /// The reply that a SOCKS client is sent.
    pub(crate) fn reply(&self) -> Reply {
        match self {
            Self::Refused(refusal) => match refusal {
                OpenRefusal::Prohibited => Reply::NotAllowed,
                OpenRefusal::Refused => Reply::ConnectionRefused,
                OpenRefusal::Unreachable | OpenRefusal::NoAddress => Reply::HostUnreachable,
                OpenRefusal::TimedOut => Reply::TtlExpired,
                OpenRefusal::ConnectFailed
                | OpenRefusal::UnknownType
                | OpenRefusal::Shortage
                | OpenRefusal::Other(_) => Reply::GeneralFailure,
            },
            Self::NoNode => Reply::NetworkUnreachable,
            Self::Local(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Reply::ConnectionRefused,
                io::ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
                io::ErrorKind::HostUnreachable => Reply::HostUnreachable,
                io::ErrorKind::TimedOut => Reply::TtlExpired,
                // getaddrinfo(3) found no address.
                _ if error.raw_os_error().is_none() => Reply::HostUnreachable,
                _ => Reply::GeneralFailure,
            },
            Self::Path => Reply::GeneralFailure,
        }
    }
}
