//! The second source of connections: an iroh endpoint with the node's key. What
//! comes in takes the same way as over QUIC.

use std::net::SocketAddr;

use alknet_iroh::{
    BindError, Endpoint, Incoming, IncomingAddr, IrohConnection, Options, bind, node_address,
    relay_in_use,
};
use alknet_quic::{NodeSecret, TransportSettings};
use tokio::sync::watch;

use crate::config::IrohConfig;
use crate::metrics::counters::{self, Handshake};
use crate::node::admission::Transport;
use crate::node::endpoint::{
    CODE_TOO_MANY, ConnectionSlot, Established, Handshakes, Routing, UnderWay, completed,
};
use crate::node::iroh_status::IrohStatus;

/// Why the endpoint cannot be made.
pub(crate) type IrohBindError = BindError;

/// The endpoint by which a node is reached through iroh. A clone is the same
/// one.
#[derive(Clone)]
pub(crate) struct IrohEndpoint(Endpoint);

impl IrohEndpoint {
    /// Binds the endpoint; its endpoint id is the public half of `secret`.
    ///
    /// # Errors
    /// When the address is not available or a relay's URL is not one.
    pub(crate) async fn bind(
        config: &IrohConfig,
        secret: &NodeSecret,
        alpns: Vec<Vec<u8>>,
        settings: &TransportSettings,
    ) -> Result<Self, IrohBindError> {
        let options = Options {
            listen: Some(config.listen),
            serves: true,
            alpns,
            relays: config.relays.clone(),
            public_relays: config.public_relays,
            discovery: config.discovery,
            settings: settings.clone(),
        };
        bind(secret, &options).await.map(Self)
    }

    /// Accepts until the endpoint is closed; refuses once told to stop.
    pub(crate) async fn accept(self, routing: Routing, stop: watch::Receiver<bool>) {
        let handshakes = Handshakes::default();
        while let Some(incoming) = self.0.accept().await {
            if handshakes.are_too_many() || *stop.borrow() {
                counters::handshake(Handshake::Refused);
                incoming.refuse();
                continue;
            }
            let from = direct(&incoming);
            // A relay passes on what nobody else can read, and has no address.
            let validated = incoming.remote_addr_validated() || from.is_none();
            if handshakes.are_many() && !validated {
                // Fails only for an address that was validated.
                let _ = incoming.retry();
                counters::handshake(Handshake::Retried);
                continue;
            }
            let admission = &routing.limits.admission;
            let slot =
                ConnectionSlot::at_the_beginning(from, validated, Transport::Iroh, admission);
            let Ok(slot) = slot else {
                counters::handshake(Handshake::Refused);
                incoming.refuse();
                continue;
            };
            let port = self.0.bound_sockets().first().map(SocketAddr::port);
            let handshake = handshakes.begin();
            tokio::spawn(serve(
                incoming,
                from,
                port,
                handshake,
                slot,
                routing.clone(),
            ));
        }
    }

    /// Has the endpoint speak these protocols from now on.
    pub(crate) fn set_alpns(&self, alpns: Vec<Vec<u8>>) {
        self.0.set_alpns(alpns);
    }

    /// The address for clients, with the ways that are known at this moment.
    pub(crate) fn address(&self) -> String {
        node_address(&self.0)
    }

    /// How the node is reached at this moment.
    pub(crate) fn status(&self) -> IrohStatus {
        let relay = relay_in_use(&self.0);
        let sockets = self.0.bound_sockets();
        IrohStatus {
            endpoint_id: self.0.id().to_string(),
            address: self.address(),
            listen: sockets.iter().map(SocketAddr::to_string).collect(),
            relay_connected: relay.as_ref().is_some_and(|(_, connected)| *connected),
            relay: relay.map(|(url, _)| url),
        }
    }

    /// Closes the endpoint and what is left of its connections.
    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

/// The address that a connection comes from; `None` if it comes through a relay.
fn direct(incoming: &Incoming) -> Option<SocketAddr> {
    match incoming.remote_addr() {
        IncomingAddr::Ip(addr) => Some(addr),
        _ => None,
    }
}

async fn serve(
    incoming: Incoming,
    from: Option<SocketAddr>,
    port: Option<u16>,
    handshake: UnderWay,
    slot: ConnectionSlot,
    routing: Routing,
) {
    let connecting = async {
        match incoming.accept() {
            Ok(accepting) => accepting.await.map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.to_string()),
        }
    };
    let connection = completed(connecting, from).await;
    drop(handshake);
    let Some(connection) = connection else { return };
    let _admitted = match slot.after_the_handshake(from) {
        Ok(admitted) => admitted,
        Err(_) => {
            connection.close(CODE_TOO_MANY.into(), b"too many connections");
            return;
        }
    };
    let alpn = connection.alpn().to_vec();
    let settings = routing.limits.away.transport().clone();
    let shared = IrohConnection::new(connection, settings);
    let local_addr = shared.local_ip().zip(port).map(SocketAddr::from);
    let fingerprint = Some(shared.peer_key().to_string());
    routing
        .route(Established {
            connection: shared.into(),
            transport: Transport::Iroh,
            alpn,
            remote_addr: from,
            local_addr,
            fingerprint,
        })
        .await;
}
