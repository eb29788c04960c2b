//! The side from which forwarded connections go on: the node, or this machine.

use std::io;

use alknet_socks5::Reply;
use alknet_ssh::client::OpenRefusal;
use tokio::net::{TcpStream, UnixStream};

use super::steady::Steady;
use super::stream::BoxEnd;
use crate::connection::lanes::Place;
use crate::options::forward_spec::Destination;

/// The side that connects to destinations: the node, or this machine.
#[derive(Clone)]
pub(crate) enum Side {
    Node(Steady),
    Here,
}

impl Side {
    /// Connects with a destination, whose name is resolved at that side.
    pub(crate) async fn open(&self, to: &Destination) -> Result<Opened, Unopened> {
        let end: BoxEnd = match (self, to) {
            (Self::Node(steady), to) => {
                let (stream, place) = steady.open(to).await?;
                return Ok(Opened {
                    end: Box::new(stream),
                    place: Some(place),
                });
            }
            (Self::Here, Destination::Tcp { host, port }) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // What is forwarded may be key strokes.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            (Self::Here, Destination::Unix(path)) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Opened { end, place: None })
    }
}

/// A connection with a destination.
pub(crate) struct Opened {
    pub(crate) end: BoxEnd,
    /// The claim to the SSH connection that carries it, held while it lasts.
    pub(crate) place: Option<Place>,
}

/// Why a destination could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error("the node says: {0}")]
    Refused(OpenRefusal),
    #[error("there was no connection to the node for too long")]
    NoNode,
    #[error("{0}")]
    Here(#[from] io::Error),
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
            Self::Here(error) => match error.kind() {
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
