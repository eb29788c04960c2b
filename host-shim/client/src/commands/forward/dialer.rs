//! The side from which forwarded connections go on: the node, or this machine.

use tokio::net::{TcpStream, UnixStream};

use super::reconnect::Reconnecting;
use super::stream::BoxEnd;
use super::unopened::Unopened;
use crate::connection::connection_pool::LaneGuard;
use crate::options::forward_spec::Destination;

/// The side that connects to destinations: the node, or this machine.
#[derive(Clone)]
pub(crate) enum Dialer {
    Node(Reconnecting),
    Local,
}

impl Dialer {
    /// Connects with a destination, whose name is resolved at that side.
    pub(crate) async fn open(&self, to: &Destination) -> Result<Opened, Unopened> {
        let end: BoxEnd = match (self, to) {
            (Self::Node(node), to) => {
                let (stream, place) = node.open(to).await?;
                return Ok(Opened {
                    end: Box::new(stream),
                    place: Some(place),
                });
            }
            (Self::Local, Destination::Tcp { host, port }) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // What is forwarded may be key strokes.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            (Self::Local, Destination::Unix(path)) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Opened { end, place: None })
    }
}

/// A connection with a destination.
pub(crate) struct Opened {
    pub(crate) end: BoxEnd,
    /// The claim to the SSH connection that carries it, held while it lasts.
    pub(crate) place: Option<LaneGuard>,
}
