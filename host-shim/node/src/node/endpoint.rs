//! Accepts connections and routes each to the handler of its ALPN. Whatever
//! happens to one connection, the others and the accepting go on.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alknet_handler::{AuthContext, Connection, HandlerError, IdentityProvider};
use alknet_loader::{Generation, Registry};
use alknet_quic::{PeerConnection, QuicConnection, Server, negotiated_alpn, peer_key};
use alknet_text::visible;
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
pub(crate) const CODE_TOO_MANY: u32 = 3;

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

/// What connections need to get to their handlers.
#[derive(Clone)]
pub(crate) struct Routing {
    pub(crate) registry: Arc<Registry>,
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) limits: Limits,
}

/// A connection whose handshake is complete.
pub(crate) struct Established<C> {
    pub(crate) connection: Arc<C>,
    pub(crate) transport: Transport,
    pub(crate) alpn: Vec<u8>,
    /// The peer's address, if it has proven one.
    pub(crate) remote_addr: Option<SocketAddr>,
    pub(crate) local_addr: Option<SocketAddr>,
    /// The key that the peer has shown, if any.
    pub(crate) fingerprint: Option<String>,
}

/// Accepts until the endpoint is closed; refuses once told to stop. Answers
/// each probe between two connections.
pub(crate) async fn accept(
    endpoint: quinn::Endpoint,
    server: Arc<Server>,
    routing: Routing,
    stop: watch::Receiver<bool>,
    mut probes: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let handshakes = Handshakes::default();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(answer) = probes.recv() => {
                let _ = answer.send(());
                continue;
            }
        };
        let Some(incoming) = incoming else { return };
        if handshakes.are_too_many() || *stop.borrow() {
            counters::handshake(Handshake::Refused);
            incoming.refuse();
            continue;
        }
        if handshakes.are_many() && !incoming.remote_address_validated() {
            // Fails only for an address that was validated.
            let _ = incoming.retry();
            counters::handshake(Handshake::Retried);
            continue;
        }
        let (from, validated) = (
            incoming.remote_address(),
            incoming.remote_address_validated(),
        );
        let admission = &routing.limits.admission;
        let slot =
            ConnectionSlot::at_the_beginning(Some(from), validated, Transport::Quic, admission);
        let Ok(slot) = slot else {
            counters::handshake(Handshake::Refused);
            incoming.refuse();
            continue;
        };
        let handshake = handshakes.begin();
        let port = endpoint.local_addr().map(|own| own.port()).ok();
        tokio::spawn(serve(
            incoming,
            Arc::clone(&server),
            port,
            handshake,
            slot,
            routing.clone(),
        ));
    }
}

/// The handshakes that are under way on an endpoint.
#[derive(Default)]
pub(crate) struct Handshakes(Arc<AtomicUsize>);

impl Handshakes {
    /// Whether an address must be validated before a handshake begins.
    pub(crate) fn are_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > RETRY_ABOVE
    }

    /// Whether no further handshake is begun.
    pub(crate) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > REFUSE_ABOVE
    }

    /// Counts one more.
    pub(crate) fn begin(&self) -> UnderWay {
        UnderWay::begin(&self.0)
    }
}

/// Counts a handshake for as long as it lives.
pub(crate) struct UnderWay(Arc<AtomicUsize>);

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
pub(crate) enum ConnectionSlot {
    Taken(Admitted),
    Later(Arc<Admission>, Transport),
}

impl ConnectionSlot {
    /// Takes a slot for a peer whose address was validated, or that has none.
    ///
    /// # Errors
    /// The reason for which the connection is not admitted.
    pub(crate) fn at_the_beginning(
        from: Option<SocketAddr>,
        validated: bool,
        transport: Transport,
        admission: &Arc<Admission>,
    ) -> Result<Self, AdmissionError> {
        if validated || from.is_none() {
            admission.admit(from, transport).map(Self::Taken)
        } else {
            admission.check(from, transport)?;
            Ok(Self::Later(Arc::clone(admission), transport))
        }
    }

    /// Takes the slot, once the handshake has validated the address.
    ///
    /// # Errors
    /// As [`at_the_beginning`](Self::at_the_beginning).
    pub(crate) fn after_the_handshake(
        self,
        from: Option<SocketAddr>,
    ) -> Result<Admitted, AdmissionError> {
        match self {
            Self::Taken(admitted) => Ok(admitted),
            Self::Later(admission, transport) => admission.admit(from, transport),
        }
    }
}

async fn serve(
    incoming: quinn::Incoming,
    server: Arc<Server>,
    port: Option<u16>,
    handshake: UnderWay,
    slot: ConnectionSlot,
    routing: Routing,
) {
    let remote_addr = incoming.remote_address();
    let connecting = async {
        match server.accept(incoming) {
            Ok(connecting) => connecting.await,
            Err(error) => Err(error),
        }
    };
    let connection = completed(connecting, Some(remote_addr)).await;
    drop(handshake);
    let Some(connection) = connection else { return };
    let _admitted = match slot.after_the_handshake(Some(remote_addr)) {
        Ok(admitted) => admitted,
        Err(_) => {
            connection.close(CODE_TOO_MANY.into(), b"too many connections");
            return;
        }
    };
    // The TLS layer accepted one of ours, so there is one.
    let alpn = negotiated_alpn(&connection).unwrap_or_default();
    let fingerprint = peer_key(&connection).map(|key| key.to_string());
    let local_addr = connection.local_ip().zip(port).map(SocketAddr::from);
    let settings = routing.limits.away.transport().clone();
    let shared = QuicConnection::new(connection, remote_addr, settings);
    routing
        .route(Established {
            connection: Arc::new(shared),
            transport: Transport::Quic,
            alpn,
            remote_addr: Some(remote_addr),
            local_addr,
            fingerprint,
        })
        .await;
}

/// Waits for a handshake, counts it, and logs why one did not complete.
pub(crate) async fn completed<T, E: fmt::Display>(
    connecting: impl Future<Output = Result<T, E>>,
    remote_addr: Option<SocketAddr>,
) -> Option<T> {
    let began = Instant::now();
    let remote_addr = remote_addr.map(tracing::field::display);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => {
            counters::handshake_completed(began.elapsed());
            Some(connection)
        }
        Ok(Err(error)) => {
            counters::handshake(Handshake::Failed);
            let reason = error.to_string();
            tracing::debug!(remote_addr, reason = %visible(&reason), "handshake failed");
            None
        }
        Err(_) => {
            counters::handshake(Handshake::TimedOut);
            tracing::debug!(remote_addr, reason = "timed out", "handshake failed");
            None
        }
    }
}

impl Routing {
    /// Finds out whose the connection is, and has the handler of its ALPN serve
    /// it. Closes it in the end.
    pub(crate) async fn route<C: PeerConnection + 'static>(&self, established: Established<C>) {
        let Established {
            connection,
            transport,
            alpn,
            remote_addr,
            local_addr,
            fingerprint,
        } = established;
        let Some(generation) = self.registry.enter(&alpn) else {
            connection.close(CODE_NO_HANDLER, "no handler for this ALPN");
            return;
        };
        let identity = match &fingerprint {
            Some(fingerprint) => self
                .identities
                .resolve_from_fingerprint(fingerprint)
                .await
                .unwrap_or_else(|error| {
                    let remote_addr = remote_addr.map(tracing::field::display);
                    tracing::warn!(remote_addr, %error, "the peer's TLS key could not be resolved");
                    None
                }),
            None => None,
        };
        let auth = AuthContext {
            identity,
            alpn,
            remote_addr,
            local_addr,
            tls_client_fingerprint: fingerprint,
        };
        if auth.identity.is_some() {
            connection.open_windows();
        }
        let away = &self.limits.away;
        let shared = Arc::clone(&connection) as Arc<dyn Connection>;
        let handling = hand_over(&generation, transport, shared, auth);
        let following = async {
            tokio::join!(
                connection.follow_peer(),
                away.follow(connection.as_ref(), remote_addr)
            )
            .0
        };
        let handled = tokio::select! {
            handled = handling => handled,
            never = following => match never {},
        };
        match handled {
            Ok(()) => connection.close(0, ""),
            Err(_) => connection.close(CODE_HANDLER_FAILED, "the handler failed"),
        }
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
