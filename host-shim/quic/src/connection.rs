//! A QUIC connection behind the handler contract, with the peer's address and
//! presence.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use alknet_text::visible;
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;

use crate::peer_address::PeerAddress;
use crate::presence::{Away, Presence, frames};
use crate::{NodeKey, QuicStream, TransportSettings};

/// A QUIC connection as handlers see it.
#[derive(Debug)]
pub struct QuicConnection {
    inner: quinn::Connection,
    alpn: Vec<u8>,
    address: PeerAddress,
    presence: Presence,
    settings: TransportSettings,
    is_somebodys: AtomicBool,
    identity: OnceLock<Identity>,
}

/// A connection whose peer can move, and be away for a time.
pub trait PeerConnection: Connection {
    /// A number that no other open connection of the endpoint has.
    fn id(&self) -> usize;

    /// How long the peer has been away; `None` while it is heard.
    fn away(&self) -> Option<Away>;

    /// Gives the connection the windows and the idle timeout of the settings,
    /// once somebody has logged in on it.
    fn open_windows(&self);

    /// Follows the peer to other addresses, once it has proven to receive
    /// there. Notices whether the peer is there, and closes the connection of one
    /// that is silent and was never known, or to which nothing is owed. To be
    /// polled beside the handler; never completes.
    fn follow_peer(&self) -> BoxFuture<'_, Infallible>;
}

impl QuicConnection {
    /// Wraps a connection that a node has accepted and whose handshake is
    /// complete; `remote_addr` is the address it was made with, `settings` are
    /// those of the [`Server`](crate::Server). The windows stay as narrow as
    /// strangers get them until [`open_windows`](PeerConnection::open_windows) or
    /// `set_identity`.
    pub fn new(
        inner: quinn::Connection,
        remote_addr: SocketAddr,
        settings: TransportSettings,
    ) -> Self {
        Self {
            alpn: negotiated_alpn(&inner).unwrap_or_default(),
            inner,
            address: PeerAddress::new(remote_addr, settings.receive_window_before_login),
            presence: Presence::default(),
            settings,
            is_somebodys: AtomicBool::new(false),
            identity: OnceLock::new(),
        }
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

    /// The identity that the handler has recorded for the peer, if any.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// The QUIC connection itself.
    pub fn quinn(&self) -> &quinn::Connection {
        &self.inner
    }
}

impl PeerConnection for QuicConnection {
    fn id(&self) -> usize {
        self.inner.stable_id()
    }

    fn away(&self) -> Option<Away> {
        self.presence.away(self.settings.send_window)
    }

    fn open_windows(&self) {
        let settings = &self.settings;
        self.is_somebodys.store(true, Ordering::Relaxed);
        self.address
            .set_window(&self.inner, settings.connection_receive_window);
        self.inner.set_send_window(settings.send_window.into());
    }

    fn follow_peer(&self) -> BoxFuture<'_, Infallible> {
        Box::pin(async {
            tokio::select! {
                never = self.address.follow(&self.inner) => never,
                never = self.watch() => never,
            }
        })
    }
}

impl Connection for QuicConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.accept_bi().await.map_err(stream_error)?;
            Ok(Box::new(QuicStream::counted(halves, self.presence.stream())) as BoxStream)
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.open_bi().await.map_err(stream_error)?;
            Ok(Box::new(QuicStream::counted(halves, self.presence.stream())) as BoxStream)
        })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.alpn.clone()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.away().is_none().then(|| self.address.proven())
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

/// The key the peer proved to hold, if it showed one.
pub fn peer_key(connection: &quinn::Connection) -> Option<NodeKey> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    NodeKey::from_spki_der(keys.first()?)
}

/// The ALPN the two sides agreed on.
pub fn negotiated_alpn(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?;
    data.downcast::<HandshakeData>().ok()?.protocol
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
