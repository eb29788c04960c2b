//! A QUIC connection behind the handler contract, with the peer's address and
//! presence.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use alknet_text::visible;
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, sleep};

use crate::peer_address::PeerAddress;
use crate::presence::{AWAY_AFTER, LOOK, Presence};
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

/// A peer that has not been heard for ten seconds or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// The time since the peer was last heard.
    pub time: Duration,
    /// The number of bytes kept for the peer at the most: they were written and
    /// have perhaps not arrived.
    pub kept_bytes: u64,
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
            presence: Presence::new(),
            settings,
            is_somebodys: AtomicBool::new(false),
            identity: OnceLock::new(),
        }
    }

    /// Gives the connection the windows and the idle timeout of the settings,
    /// once somebody has logged in on it.
    pub fn open_windows(&self) {
        let settings = &self.settings;
        self.is_somebodys.store(true, Ordering::Relaxed);
        self.address
            .set_window(&self.inner, settings.connection_receive_window);
        self.inner.set_send_window(settings.send_window.into());
    }

    /// Follows the peer to other addresses, once it has proven to receive
    /// there; until then [`remote_addr`](Connection::remote_addr) is the one
    /// of before. Notices whether the peer is there, and closes the connection
    /// of one that is silent and was never known, or to which nothing is owed. To be
    /// polled beside the handler; never completes.
    pub async fn follow_peer(&self) -> Infallible {
        tokio::select! {
            never = self.address.follow(&self.inner) => never,
            never = self.watch() => never,
        }
    }

    /// How long the peer has been away; `None` while it is heard.
    pub fn away(&self) -> Option<Away> {
        let time = self.presence.silence(Instant::now());
        (time >= AWAY_AFTER).then(|| Away {
            time,
            kept_bytes: self
                .presence
                .unheard()
                .min(self.settings.send_window.into()),
        })
    }

    async fn watch(&self) -> Infallible {
        // Whether the peer was away when its last stream ended.
        let mut ended_without_it = None;
        loop {
            sleep(LOOK).await;
            let now = Instant::now();
            self.presence.look(&self.inner.stats().frame_rx, now);
            let silence = self.presence.silence(now);
            let has_streams = self.presence.has_streams();
            if has_streams {
                ended_without_it = None;
            } else {
                ended_without_it.get_or_insert(silence >= AWAY_AFTER);
            }
            // The last words of a session are kept for who could not hear them; a peer
            // that was there may have left without a word that arrived.
            let is_owed = ended_without_it == Some(true) && self.presence.unheard() > 0;
            let may_be_away = self.is_somebodys.load(Ordering::Relaxed) && (has_streams || is_owed);
            if !may_be_away && silence >= self.settings.idle_timeout_before_login {
                self.close(0, "nothing was heard for too long");
            }
        }
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
