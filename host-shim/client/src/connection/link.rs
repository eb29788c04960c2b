//! A connection to a node, and the streams on it.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use alknet_quic::{NodeKey, QuicStream};
use alknet_text::visible;
use quinn::{ConnectionError, VarInt};
use rustix::net::sockopt::set_socket_keepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::iroh::{IrohLink, IrohStream};

/// A connection to a node.
pub(crate) enum Link {
    /// A QUIC connection, on which the node's key was verified.
    Quic(QuicLink),
    /// A connection through iroh, on which the node's key was verified.
    Iroh(IrohLink),
    /// TCP, on which nothing was verified: SSH does that.
    Tcp(TcpLink),
}

/// A connection on which the node's key was verified.
pub(crate) enum VerifiedLink {
    /// A QUIC connection.
    Quic(QuicLink),
    /// A connection through iroh.
    Iroh(IrohLink),
}

/// A QUIC connection to a node whose key was verified.
pub(crate) struct QuicLink {
    pub(crate) connection: quinn::Connection,
    pub(crate) node_key: NodeKey,
    /// The time it took to connect, the look-up of the name included.
    pub(crate) handshake: Duration,
    /// The task that follows the connection to other networks; it ends with it.
    pub(crate) _path_recovery: JoinSet<()>,
}

/// A node that is reached over TCP. Each stream is a connection of its own.
pub(crate) struct TcpLink {
    address: SocketAddr,
    /// The connection that was made first, until it is used.
    first: Mutex<Option<TcpStream>>,
}

/// The byte stream of one SSH connection.
pub(crate) enum LinkStream {
    Quic(QuicStream),
    Iroh(IrohStream),
    Tcp(TcpStream),
}

/// The turns given to the sending task: it needs one; more are for a socket
/// that is not ready.
const SENDING_TURNS: usize = 4;
const GOODBYE_TURNS: usize = 100;

impl Link {
    /// Opens a stream for an SSH connection.
    ///
    /// # Errors
    /// When the connection has ended, in words for the user.
    pub(crate) async fn open(&self) -> Result<LinkStream, String> {
        match self {
            Self::Quic(link) => link.open().await,
            Self::Iroh(link) => link.open().await.map(LinkStream::Iroh),
            Self::Tcp(link) => match link.stream().await {
                Ok(stream) => Ok(LinkStream::Tcp(stream)),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// The time to the node and back, where the connection measures it.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Quic(link) => Some(link.connection.rtt()),
            Self::Iroh(link) => link.round_trip(),
            Self::Tcp(_) => None,
        }
    }

    /// Whether the node has proven its own key, on which the connection rests.
    pub(crate) fn has_node_key(&self) -> bool {
        matches!(self, Self::Quic(_) | Self::Iroh(_))
    }

    /// The reason for which the connection ended, if it has. Over TCP its
    /// streams report that.
    pub(crate) fn end(&self) -> Option<String> {
        match self {
            Self::Quic(link) => link.connection.close_reason().map(|error| end(&error)),
            Self::Iroh(link) => link.end(),
            Self::Tcp(_) => None,
        }
    }

    /// Completes when the connection has ended, with the reason; over TCP
    /// never.
    pub(crate) async fn closed(&self) -> String {
        match self {
            Self::Quic(link) => end(&link.connection.closed().await),
            Self::Iroh(link) => link.closed().await,
            Self::Tcp(_) => pending().await,
        }
    }

    /// Ends the connection at once, with all that is carried on it. Over TCP
    /// each stream ends with its owner.
    pub(crate) fn cut(&self) {
        match self {
            Self::Quic(link) => link.connection.close(VarInt::from_u32(0), b""),
            Self::Iroh(link) => link.cut(),
            Self::Tcp(_) => {}
        }
    }

    /// Closes the connection, see [`QuicLink::close`].
    pub(crate) async fn close(self) {
        match self {
            Self::Quic(link) => link.close().await,
            Self::Iroh(link) => link.close().await,
            Self::Tcp(_) => {}
        }
    }
}

impl VerifiedLink {
    /// The node's key, which it has proven.
    pub(crate) fn node_key(&self) -> NodeKey {
        match self {
            Self::Quic(link) => link.node_key,
            Self::Iroh(link) => link.node_key(),
        }
    }

    /// The time it took to connect, the look-up of the name included.
    pub(crate) fn handshake(&self) -> Duration {
        match self {
            Self::Quic(link) => link.handshake,
            Self::Iroh(link) => link.handshake(),
        }
    }

    /// The way that the connection takes at this moment: the node's address, or
    /// through iroh whether that is direct or a relay.
    pub(crate) fn way(&self) -> String {
        match self {
            Self::Quic(link) => link.connection.remote_address().to_string(),
            Self::Iroh(link) => link.way(),
        }
    }

    /// Whether the way may change from one kind to another.
    pub(crate) fn may_change_its_way(&self) -> bool {
        matches!(self, Self::Iroh(_))
    }

    /// The number of acknowledgements that have come, and the time to the node and
    /// back.
    pub(crate) fn heard(&self) -> (u64, Duration) {
        match self {
            Self::Quic(link) => {
                let stats = link.connection.stats();
                (stats.frame_rx.acks, stats.path.rtt)
            }
            Self::Iroh(link) => (link.acknowledged(), link.round_trip().unwrap_or_default()),
        }
    }

    /// Completes when the connection has ended, with the reason.
    pub(crate) async fn closed(&self) -> String {
        match self {
            Self::Quic(link) => visible(&link.connection.closed().await.to_string()).into_owned(),
            Self::Iroh(link) => link.closed().await,
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the connection has ended, in words for the user.
    pub(crate) async fn open(&self) -> Result<LinkStream, String> {
        match self {
            Self::Quic(link) => link.open().await,
            Self::Iroh(link) => link.open().await.map(LinkStream::Iroh),
        }
    }

    /// Closes the connection, see [`QuicLink::close`].
    pub(crate) async fn close(self) {
        match self {
            Self::Quic(link) => link.close().await,
            Self::Iroh(link) => link.close().await,
        }
    }
}

impl QuicLink {
    async fn open(&self) -> Result<LinkStream, String> {
        match self.connection.open_bi().await {
            Ok(stream) => Ok(LinkStream::Quic(QuicStream::new(stream))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Says goodbye and sees to it that the goodbye is on its way, so that the
    /// node need not wait for a timeout.
    pub(crate) async fn close(self) {
        // What the streams still hold goes first: a closed connection sends
        // nothing but the close. The connection's own task does the sending;
        // it has its turns here.
        for _ in 0..SENDING_TURNS {
            tokio::task::yield_now().await;
        }
        self.connection.close(VarInt::from_u32(0), b"");
        for _ in 0..GOODBYE_TURNS {
            if self.connection.stats().frame_tx.connection_close > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl TcpLink {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// When none does.
    pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let stream = prepared(TcpStream::connect(addresses).await?);
        Ok(Self {
            address: stream.peer_addr()?,
            first: Mutex::new(Some(stream)),
        })
    }

    /// Makes another connection, or gives the first if it is unused.
    pub(crate) async fn stream(&self) -> io::Result<TcpStream> {
        let first = self.first.lock();
        let first = first.unwrap_or_else(PoisonError::into_inner).take();
        match first {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(self.address).await.map(prepared),
        }
    }
}

/// Sets the options of a socket, which works as well without them.
fn prepared(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    let _ = set_socket_keepalive(&stream, true);
    stream
}

/// The sentence for the user about the end of a connection.
fn end(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Reset => "the node has restarted".to_owned(),
        // We close none that is in use, but one that is silent.
        ConnectionError::TimedOut | ConnectionError::LocallyClosed => "it is silent".to_owned(),
        ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => {
            "it closed the connection".to_owned()
        }
        error => visible(&error.to_string()).into_owned(),
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Iroh(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Quic(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Iroh(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(stream) => Pin::new(stream).poll_flush(cx),
            Self::Iroh(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Iroh(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
