//! Connections within this process, for trying handlers out without a network.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use alknet_handler::{
    AuthContext, BoxFuture, BoxStream, CertificateQuery, Connection, Identity, IdentityAlreadySet,
    IdentityError, IdentityProvider, StreamError,
};
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc, watch};

/// The number of bytes that a stream holds on their way.
const PIPE: usize = 4096;

/// A connection within this process, whose streams come from a [`Peer`].
pub(crate) struct InMemory {
    alpn: Vec<u8>,
    streams: Mutex<mpsc::UnboundedReceiver<Result<BoxStream, StreamError>>>,
    taken: watch::Sender<bool>,
    closed: watch::Sender<bool>,
    identified: AtomicBool,
}

/// The other end of an [`InMemory`]. Dropped, it has closed the connection.
pub(crate) struct Peer {
    streams: mpsc::UnboundedSender<Result<BoxStream, StreamError>>,
    taken: watch::Receiver<bool>,
}

impl InMemory {
    pub(crate) fn new(alpn: &[u8]) -> (Self, Peer) {
        let (streams, accepted) = mpsc::unbounded_channel();
        let (taken, taken_there) = watch::channel(false);
        let connection = Self {
            taken,
            alpn: alpn.to_vec(),
            streams: Mutex::new(accepted),
            closed: watch::Sender::new(false),
            identified: AtomicBool::new(false),
        };
        let peer = Peer {
            streams,
            taken: taken_there,
        };
        (connection, peer)
    }

    pub(crate) fn auth(&self) -> AuthContext {
        AuthContext {
            alpn: self.alpn.clone(),
            remote_addr: self.remote_addr(),
            ..AuthContext::default()
        }
    }
}

impl Peer {
    /// Opens a stream.
    pub(crate) fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        // Without the connection nobody reads from it, which is what the
        // caller finds out.
        let _ = self.streams.send(Ok(Box::new(theirs)));
        ours
    }

    /// Completes when the handler has taken a stream, or will take none.
    pub(crate) async fn taken(&self) {
        let _ = self.taken.clone().wait_for(|taken| *taken).await;
    }

    /// Has the handler told that the connection failed.
    pub(crate) fn fail(&self) {
        let error = StreamError::Internal("a fault made by the check".to_owned());
        let _ = self.streams.send(Err(error));
    }
}

impl Connection for InMemory {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async {
            let mut closed = self.closed.subscribe();
            let mut streams = self.streams.lock().await;
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => Err(StreamError::ConnectionClosed),
                stream = streams.recv() => {
                    self.taken.send_replace(true);
                    stream.unwrap_or(Err(StreamError::ConnectionClosed))
                }
            }
        })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(std::future::ready(Err(StreamError::ConnectionClosed)))
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.alpn.clone()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, 2, 1], 50000)))
    }

    fn set_identity(&self, _: Identity) -> Result<(), IdentityAlreadySet> {
        match self.identified.swap(true, Ordering::Relaxed) {
            false => Ok(()),
            true => Err(IdentityAlreadySet),
        }
    }

    fn close(&self, _: u32, _: &str) {
        self.closed.send_replace(true);
    }
}

/// An identity provider that knows nobody.
pub(crate) struct Nobody;

type Answer<'a> = BoxFuture<'a, Result<Option<Identity>, IdentityError>>;

impl IdentityProvider for Nobody {
    fn resolve_from_fingerprint<'a>(&'a self, _: &'a str) -> Answer<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn resolve_from_token<'a>(&'a self, _: &'a str) -> Answer<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn resolve_from_certificate<'a>(&'a self, _: &'a CertificateQuery) -> Answer<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
