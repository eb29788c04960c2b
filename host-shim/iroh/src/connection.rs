//! A connection behind the handler contract, with the peer's address, way and
//! presence.

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use alknet_quic::{Away, NodeKey, PeerConnection, Presence, TransportSettings};
use alknet_text::visible;
use iroh::endpoint::{self, ConnectionError, FrameStats, LocalTransportAddr, VarInt};

use crate::{IrohStream, Way, node_key, way_of};

/// A connection as handlers see it.
///
/// Its address is that of the direct path in use, at which the peer has
/// answered a challenge (RFC 9000 section 8.2). While the connection goes
/// through a relay it has none, and is
/// [relayed](alknet_handler::Connection::is_relayed).
#[derive(Debug)]
pub struct IrohConnection {
    inner: endpoint::Connection,
    presence: Presence,
    settings: TransportSettings,
    is_somebodys: AtomicBool,
    identity: OnceLock<Identity>,
}

impl IrohConnection {
    /// Wraps a connection that a node has accepted and whose handshake is
    /// complete; `settings` are those of the endpoint. The receive window stays
    /// as narrow as strangers get it until
    /// [`open_windows`](PeerConnection::open_windows) or `set_identity`.
    pub fn new(inner: endpoint::Connection, settings: TransportSettings) -> Self {
        Self {
            inner,
            presence: Presence::default(),
            settings,
            is_somebodys: AtomicBool::new(false),
            identity: OnceLock::new(),
        }
    }

    /// The key that the peer has proven: its endpoint id.
    pub fn peer_key(&self) -> NodeKey {
        node_key(self.inner.remote_id())
    }

    /// The way that the connection takes at this moment.
    pub fn way(&self) -> Way {
        way_of(&self.inner)
    }

    /// The address of ours that the peer sends to directly, where it is known.
    pub fn local_ip(&self) -> Option<IpAddr> {
        let paths = self.inner.paths();
        let mut paths = paths.iter();
        paths.find_map(|path| match path.local_addr() {
            LocalTransportAddr::Ip(address) => *address,
            _ => None,
        })
    }

    /// The identity that the handler has recorded for the peer, if any.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    async fn watch(&self) -> Infallible {
        let frames = || frames(&self.inner.stats().frame_rx);
        let is_somebodys = || self.is_somebodys.load(Ordering::Relaxed);
        let before_login = self.settings.idle_timeout_before_login;
        self.presence
            .overdue(frames, is_somebodys, before_login)
            .await;
        self.close(0, "nothing was heard for too long");
        pending().await
    }
}

impl PeerConnection for IrohConnection {
    fn id(&self) -> usize {
        self.inner.stable_id()
    }

    fn away(&self) -> Option<Away> {
        self.presence.away(self.settings.send_window)
    }

    fn open_windows(&self) {
        self.is_somebodys.store(true, Ordering::Relaxed);
        let window = VarInt::from_u32(self.settings.connection_receive_window);
        self.inner.set_receive_window(window);
    }

    fn follow_peer(&self) -> BoxFuture<'_, Infallible> {
        Box::pin(self.watch())
    }
}

impl Connection for IrohConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.accept_bi().await.map_err(stream_error)?;
            Ok(Box::new(IrohStream::counted(halves, self.presence.stream())) as BoxStream)
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.open_bi().await.map_err(stream_error)?;
            Ok(Box::new(IrohStream::counted(halves, self.presence.stream())) as BoxStream)
        })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.inner.alpn().to_vec()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        match self.way() {
            Way::Direct(addr) if self.away().is_none() => Some(addr),
            _ => None,
        }
    }

    fn is_relayed(&self) -> bool {
        matches!(self.way(), Way::Relay(_)) && self.away().is_none()
    }

    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet> {
        self.identity
            .set(identity)
            .map_err(|_| IdentityAlreadySet)?;
        self.open_windows();
        Ok(())
    }

    fn close(&self, code: u32, reason: &str) {
        self.inner.close(VarInt::from_u32(code), reason.as_bytes());
    }
}

/// The number of frames received of the kinds that a packet of a living peer
/// holds.
fn frames(received: &FrameStats) -> u64 {
    received.acks
        + received.path_acks
        + received.ping
        + received.stream
        + received.max_data
        + received.max_stream_data
        + received.path_challenge
        + received.path_response
        + received.crypto
}

fn stream_error(error: ConnectionError) -> StreamError {
    match error {
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::Reset => StreamError::ConnectionClosed,
        ConnectionError::TimedOut => StreamError::Timeout,
        error => StreamError::Internal(visible(&error.to_string()).into_owned()),
    }
}
