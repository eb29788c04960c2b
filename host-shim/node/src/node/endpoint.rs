//! Accepts connections and routes each to the handler of its ALPN. Whatever
//! happens to one connection, the others and the accepting go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alknet_handler::{AuthContext, Connection, HandlerError, IdentityProvider};
use alknet_identity::PeerStore;
use alknet_loader::{Generation, Registry};
use alknet_quic::{QuicConnection, Server, negotiated_alpn, peer_key};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::NodeConfig;
use crate::metrics::counters::{self, AdmissionError, Handshake};
use crate::metrics::traffic::Counted;
use crate::node::admission::{Admission, Admitted, Transport};
use crate::node::away::AwayPeers;

/// With more handshakes than this under way, a peer must first prove that it
/// receives at the address it claims (RFC 9000 section 8.1.2).
const RETRY_ABOVE: usize = 64;
/// With more handshakes than this under way, further ones are turned away.
const REFUSE_ABOVE: usize = 1024;
/// The time that a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The QUIC close code when no handler is registered for the ALPN: it went away
/// during the handshake.
const CODE_NO_HANDLER: u32 = 1;
/// The QUIC close code when the handler ended with an error.
const CODE_HANDLER_FAILED: u32 = 2;
/// The QUIC close code when the node has as many connections as it may.
const CODE_TOO_MANY: u32 = 3;

/// The limits on the connections of a node.
#[derive(Clone)]
pub(crate) struct Limits {
    pub(crate) admission: Arc<Admission>,
    pub(crate) away: Arc<AwayPeers>,
}

impl Limits {
    /// Puts the limits of another configuration in force, as far as they can
    /// change.
    pub(crate) fn set(&self, config: &NodeConfig) {
        self.admission.set(config.connections.clone());
        self.away.set(&config.limits);
    }
}

/// What each connection is served with.
struct Context {
    server: Arc<Server>,
    registry: Arc<Registry>,
    peers: Arc<PeerStore>,
    away: Arc<AwayPeers>,
}

/// Accepts until the endpoint is closed; refuses once told to stop. Answers
/// each probe between two connections.
pub(crate) async fn accept(
    endpoint: quinn::Endpoint,
    server: Arc<Server>,
    registry: Arc<Registry>,
    peers: Arc<PeerStore>,
    limits: Limits,
    stop: watch::Receiver<bool>,
    mut probes: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    let Limits { admission, away } = limits;
    let context = Arc::new(Context {
        server,
        registry,
        peers,
        away,
    });
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(answer) = probes.recv() => {
                let _ = answer.send(());
                continue;
            }
        };
        let Some(incoming) = incoming else { return };
        let under_way = handshakes.load(Ordering::Relaxed);
        if under_way > REFUSE_ABOVE || *stop.borrow() {
            counters::handshake(Handshake::Refused);
            incoming.refuse();
            continue;
        }
        if under_way > RETRY_ABOVE && !incoming.remote_address_validated() {
            // Fails only for an address that was validated.
            let _ = incoming.retry();
            counters::handshake(Handshake::Retried);
            continue;
        }
        let Ok(slot) = ConnectionSlot::at_the_beginning(&incoming, &admission) else {
            counters::handshake(Handshake::Refused);
            incoming.refuse();
            continue;
        };
        let handshake = UnderWay::begin(&handshakes);
        let port = endpoint.local_addr().map(|own| own.port()).ok();
        tokio::spawn(serve(incoming, port, handshake, slot, Arc::clone(&context)));
    }
}

/// Counts a handshake for as long as it lives.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot among the connections. An address that may be forged takes none
/// until the handshake has shown that it is not.
enum ConnectionSlot {
    Taken(Admitted),
    Later(Arc<Admission>),
}

impl ConnectionSlot {
    fn at_the_beginning(
        incoming: &quinn::Incoming,
        admission: &Arc<Admission>,
    ) -> Result<Self, AdmissionError> {
        let from = incoming.remote_address();
        if incoming.remote_address_validated() {
            admission.admit(from, Transport::Quic).map(Self::Taken)
        } else {
            admission.check(from, Transport::Quic)?;
            Ok(Self::Later(Arc::clone(admission)))
        }
    }

    fn after_the_handshake(self, from: SocketAddr) -> Result<Admitted, AdmissionError> {
        match self {
            Self::Taken(admitted) => Ok(admitted),
            Self::Later(admission) => admission.admit(from, Transport::Quic),
        }
    }
}

async fn serve(
    incoming: quinn::Incoming,
    port: Option<u16>,
    handshake: UnderWay,
    slot: ConnectionSlot,
    context: Arc<Context>,
) {
    let remote_addr = incoming.remote_address();
    let began = Instant::now();
    let connected = match context.server.accept(incoming) {
        Ok(connecting) => tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    drop(handshake);
    let connection = match connected {
        Ok(Ok(connection)) => {
            counters::handshake_completed(began.elapsed());
            connection
        }
        Ok(Err(error)) => {
            counters::handshake(Handshake::Failed);
            tracing::debug!(%remote_addr, reason = %error, "handshake failed");
            return;
        }
        Err(_) => {
            counters::handshake(Handshake::TimedOut);
            tracing::debug!(%remote_addr, reason = "timed out", "handshake failed");
            return;
        }
    };
    let _admitted = match slot.after_the_handshake(remote_addr) {
        Ok(admitted) => admitted,
        Err(_) => {
            connection.close(CODE_TOO_MANY.into(), b"too many connections");
            return;
        }
    };
    // The TLS layer accepted one of ours, so there is one.
    let alpn = negotiated_alpn(&connection).unwrap_or_default();
    let Some(generation) = context.registry.enter(&alpn) else {
        connection.close(CODE_NO_HANDLER.into(), b"no handler for this ALPN");
        return;
    };
    let fingerprint = peer_key(&connection).map(|key| key.to_string());
    let identity = match &fingerprint {
        Some(fingerprint) => context
            .peers
            .resolve_from_fingerprint(fingerprint)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%remote_addr, %error, "the peer's TLS key could not be resolved");
                None
            }),
        None => None,
    };
    let local_ip = connection.local_ip();
    let local_addr = local_ip.zip(port).map(SocketAddr::from);
    let auth = AuthContext {
        identity,
        alpn,
        remote_addr: Some(remote_addr),
        local_addr,
        tls_client_fingerprint: fingerprint,
    };
    let away = &context.away;
    let settings = away.transport().clone();
    let shared = QuicConnection::new(connection.clone(), remote_addr, settings);
    if auth.identity.is_some() {
        shared.open_windows();
    }
    let shared = Arc::new(shared);
    let followed = Arc::clone(&shared);
    let handling = hand_over(&generation, Transport::Quic, shared, auth);
    let following = async { tokio::join!(followed.follow_peer(), away.follow(&followed)).0 };
    let handled = tokio::select! {
        handled = handling => handled,
        never = following => match never {},
    };
    match handled {
        Ok(()) => connection.close(0u32.into(), b""),
        Err(_) => connection.close(CODE_HANDLER_FAILED.into(), b"the handler failed"),
    }
}

/// Gives a connection to its handler and waits for its end.
pub(crate) async fn hand_over(
    generation: &Generation,
    transport: Transport,
    connection: Arc<dyn Connection>,
    auth: AuthContext,
) -> Result<(), HandlerError> {
    let transport = transport.name();
    counters::connection(transport);
    let remote_addr = auth.remote_addr.map(tracing::field::display);
    tracing::debug!(
        remote_addr,
        transport,
        alpn = %String::from_utf8_lossy(&auth.alpn),
        generation = generation.id,
        config = generation.config_generation(),
        tls_key = auth.tls_client_fingerprint.as_deref(),
        identity = auth.identity.as_ref().map(|identity| identity.id.as_str()),
        "connection accepted"
    );
    let connection = Arc::new(Counted::new(connection));
    let handled = generation.handler.handle(connection, auth).await;
    if let Err(error) = &handled {
        tracing::debug!(remote_addr, %error, "the handler ended the connection");
    }
    handled
}
