//! The traits of a byte stream, a connection and the protocol handler that
//! serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    AuthContext, BoxFuture, ConfigError, HandlerError, Identity, IdentityAlreadySet, StreamError,
};

/// A bidirectional, reliable, ordered byte stream.
///
/// `poll_shutdown` announces the end of our bytes and completes once the peer
/// has them or is known to be gone, as far as the transport can tell; dropping
/// the stream without it may lose the tail.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// An owned byte stream of any kind.
pub type BoxStream = Box<dyn ByteStream>;

/// One accepted connection: one ALPN, one handler, one or more streams.
pub trait Connection: Send + Sync {
    /// The next stream the peer opens. A connection over a single stream (TCP)
    /// yields it once and [`StreamError::ConnectionClosed`] from then on.
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>>;

    /// Opens a stream towards the peer.
    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>>;

    /// The negotiated ALPN.
    fn remote_alpn(&self) -> Vec<u8>;

    /// The address at which the peer has proven to receive. On QUIC it may
    /// change: the peer has moved and answered from there (RFC 9000 section 9).
    /// `None` while the peer is away: nothing has been heard from it for ten
    /// seconds. On TCP, which does not tell, it stays the same.
    fn remote_addr(&self) -> Option<SocketAddr>;

    /// Whether the peer is there, but comes through a relay, which proves no
    /// address: [`remote_addr`](Self::remote_addr) is `None` then. The peer may
    /// come by a direct way later, and through a relay again.
    fn is_relayed(&self) -> bool {
        false
    }

    /// Records who the handler found the peer to be. Write once.
    ///
    /// # Errors
    /// When an identity was recorded before.
    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet>;

    /// Closes the whole connection; the peer sees `code` and `reason`.
    fn close(&self, code: u32, reason: &str);
}

/// Runs a protocol on the connections an endpoint hands over.
pub trait ProtocolHandler: Send + Sync {
    /// Serves one connection; returns when the last of its streams has ended.
    fn handle(
        &self,
        connection: Arc<dyn Connection>,
        auth: AuthContext,
    ) -> BoxFuture<'static, Result<(), HandlerError>>;

    /// Takes a new configuration (JSON text) for connections to come and, as
    /// far as it can, for live ones. All of it is applied, or nothing.
    ///
    /// # Errors
    /// When the configuration is unusable or holds a change that needs a
    /// restart; the old configuration stays in force.
    fn reconfigure(&self, config: &str) -> Result<(), ConfigError>;

    /// Lets live sessions run until they end or `deadline` has passed, then
    /// ends the rest with the protocol's own goodbye. New sessions are refused.
    fn drain(&self, deadline: Duration) -> BoxFuture<'static, ()>;

    /// A JSON object that says how the handler is doing.
    fn status(&self) -> String;

    /// Answers whatever else the node may ask: a JSON object with the member
    /// `command`, answered by a JSON object. The commands are the types of
    /// the crate `alknet-control`.
    ///
    /// # Errors
    /// When the command is unknown, which is all a handler without commands of
    /// its own needs to say, or cannot be carried out.
    fn control(&self, _request: &str) -> Result<String, ConfigError> {
        Err(ConfigError {
            pointer: "/command".to_owned(),
            message: "unknown command".to_owned(),
        })
    }
}
