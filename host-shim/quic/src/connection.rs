use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::OnceLock;

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use alknet_text::visible;
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;

use crate::peer_address::PeerAddress;
use crate::{NodeKey, QuicStream, TransportSettings};

/// A QUIC connection as handlers see it.
#[derive(Debug)]
pub struct QuicConnection {
    inner: quinn::Connection,
    alpn: Vec<u8>,
    address: PeerAddress,
    settings: TransportSettings,
    identity: OnceLock<Identity>,
}

impl QuicConnection {
    /// Wraps a connection that a node has accepted and whose handshake is
    /// complete; `remote_addr` is the address it was made with, `settings` are
    /// those of the [`Server`](crate::Server). The windows stay as narrow as
    /// strangers get them until [`open_windows`](Self::open_windows) or
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
            settings,
            identity: OnceLock::new(),
        }
    }

    /// Gives the connection the windows of the settings: it is somebody's.
    pub fn open_windows(&self) {
        let settings = &self.settings;
        self.address
            .set_window(&self.inner, settings.connection_receive_window);
        self.inner.set_send_window(settings.send_window.into());
    }

    /// Follows the peer to other addresses, once it has proven to receive
    /// there; until then [`remote_addr`](Connection::remote_addr) is the one
    /// of before. To be polled beside the handler; never completes.
    pub async fn follow_address(&self) -> Infallible {
        self.address.follow(&self.inner).await
    }

    /// Who the handler found the peer to be, once it has.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// The QUIC connection itself.
    pub fn quinn(&self) -> &quinn::Connection {
        &self.inner
    }
}

impl Connection for QuicConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.accept_bi().await.map_err(stream_error)?;
            Ok(Box::new(QuicStream::new(halves)) as BoxStream)
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let halves = self.inner.open_bi().await.map_err(stream_error)?;
            Ok(Box::new(QuicStream::new(halves)) as BoxStream)
        })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.alpn.clone()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.address.proven())
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
