//! A connection to a node through iroh: by its endpoint id, directly or through a
//! relay.

use std::time::Duration;

use alknet_iroh::{
    BindError, ConnectError, Connection, ConnectionError, Endpoint, NodeAddress, Options,
    RecvStream, SendStream, VarInt, Way, bind, connect, round_trip, way_of,
};
use alknet_quic::{NodeKey, NodeSecret, TransportSettings};
use alknet_text::visible;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

pub(crate) use alknet_iroh::IrohStream;

use super::identity_key::{self, IdentityKeyError};
use crate::console::terminal::Terminal;
use crate::options::args::{SSH_ALPN, Settings};
use crate::options::iroh_address::IrohAddress;
use crate::options::node::Node;

/// The interval at which a connection is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// With nothing heard for so long before the log-in, the connection is given up.
const SILENCE_BEFORE_LOGIN: Duration = Duration::from_secs(30);
/// With nothing heard for so long, another connection is tried: if that succeeds and
/// this one stays silent, the node has forgotten it.
const SILENCE_BEFORE_TRIAL: Duration = Duration::from_secs(15);
/// The time that a closed endpoint gets to tell the node and the relay.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection through iroh to a node whose key was verified.
pub(crate) struct IrohLink {
    endpoint: Endpoint,
    connection: Connection,
    node_key: NodeKey,
    handshake: Duration,
    /// The task that looks at the connection; it ends with it.
    _watch: JoinSet<()>,
}

/// Connects to the endpoint id by all ways at once.
pub(super) async fn dial(
    address: &IrohAddress,
    node: &Node,
    settings: &Settings,
    terminal: Terminal,
) -> Result<IrohLink, IrohDialError> {
    let secret = match node.identity_key.as_deref() {
        Some(file) => identity_key::read(file)?,
        None => new_key()?,
    };
    let dialling = Dialling {
        node: NodeAddress {
            key: address.key,
            direct: address.direct.clone(),
            relays: address.relays.clone(),
            discovery: address.discovery,
        },
        settings: node.transport(settings),
        alpn: settings.alpn.clone(),
    };
    let started = Instant::now();
    let dialled = timeout(settings.timeout, dialling.dial(&secret)).await;
    let (endpoint, connection) = match dialled {
        Ok(Ok(dialled)) => dialled,
        Ok(Err(error)) => return Err(explain(error, address, settings)),
        Err(_) => return Err(no_answer(address, settings)),
    };
    let handshake = started.elapsed();
    terminal.detail(&format_args!(
        "connected to {} {} in {} ms",
        address.key,
        way_of(&connection),
        handshake.as_millis()
    ));
    let mut watch = JoinSet::new();
    watch.spawn(follow(
        dialling,
        endpoint.clone(),
        connection.clone(),
        terminal,
    ));
    Ok(IrohLink {
        endpoint,
        connection,
        node_key: address.key,
        handshake,
        _watch: watch,
    })
}

/// A key for a client that shows none of its own.
fn new_key() -> Result<NodeSecret, IrohDialError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| IrohDialError::NoKey)?;
    NodeSecret::from_seed(&seed).map_err(|_| IrohDialError::NoKey)
}

/// What it takes to connect once more.
struct Dialling {
    node: NodeAddress,
    settings: TransportSettings,
    alpn: Vec<u8>,
}

impl Dialling {
    async fn dial(&self, secret: &NodeSecret) -> Result<(Endpoint, Connection), ConnectError> {
        let options = Options {
            relays: self.node.relays.clone(),
            // The one who is looked up may be at any of them.
            public_relays: self.node.discovery,
            discovery: self.node.discovery,
            settings: self.settings.clone(),
            ..Options::default()
        };
        let endpoint = bind(secret, &options).await?;
        let connection = connect(&endpoint, &self.node, &self.alpn).await?;
        Ok((endpoint, connection))
    }

    /// Whether the node answers another client.
    async fn answers(&self) -> bool {
        let Ok(secret) = new_key() else {
            return false;
        };
        match timeout(SILENCE_BEFORE_TRIAL, self.dial(&secret)).await {
            Ok(Ok((endpoint, connection))) => {
                connection.close(VarInt::from_u32(0), b"");
                let _ = timeout(GOODBYE_TIMEOUT, endpoint.close()).await;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

impl IrohLink {
    pub(crate) async fn open(&self) -> Result<IrohStream, String> {
        let stream = self.connection.open_bi().await;
        stream
            .map(IrohStream::new)
            .map_err(|error| sentence(&error))
    }

    /// Opens a stream, in its two halves.
    pub(crate) async fn halves(&self) -> Result<(SendStream, RecvStream), String> {
        let stream = self.connection.open_bi().await;
        stream.map_err(|error| sentence(&error))
    }

    pub(crate) fn node_key(&self) -> NodeKey {
        self.node_key
    }

    pub(crate) fn handshake(&self) -> Duration {
        self.handshake
    }

    pub(crate) fn way(&self) -> String {
        way_of(&self.connection).to_string()
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        round_trip(&self.connection)
    }

    /// The number of acknowledgements that have come.
    pub(crate) fn acknowledged(&self) -> u64 {
        let received = self.connection.stats().frame_rx;
        received.acks + received.path_acks
    }

    /// Bytes sent and received.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let stats = self.connection.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    pub(crate) fn end(&self) -> Option<String> {
        let reason = self.connection.close_reason();
        reason.map(|error| sentence(&error))
    }

    pub(crate) async fn closed(&self) -> String {
        sentence(&self.connection.closed().await)
    }

    pub(crate) fn cut(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }

    /// Says goodbye to the node, so that it need not wait for a timeout, and to the
    /// relay.
    pub(crate) async fn close(self) {
        self.cut();
        let _ = timeout(GOODBYE_TIMEOUT, self.endpoint.close()).await;
    }
}

/// The sentence for the user about the end of a connection.
fn sentence(error: &ConnectionError) -> String {
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

/// Tells of changes of the way, and gives up a connection that leads nowhere.
async fn follow(
    dialling: Dialling,
    endpoint: Endpoint,
    connection: Connection,
    terminal: Terminal,
) {
    let mut way = way_of(&connection);
    let heard = || connection.stats().udp_rx.datagrams;
    let mut last_heard = (heard(), Instant::now());
    let mut last_trial = Instant::now();
    while connection.close_reason().is_none() {
        sleep(LOOK).await;
        let present = way_of(&connection);
        if present != way && present != Way::None {
            terminal.detail(&format_args!("the connection goes {present} now"));
            way = present;
        }
        if heard() != last_heard.0 {
            last_heard = (heard(), Instant::now());
            continue;
        }
        let silence = last_heard.1.elapsed();
        // The node widens its window for whoever has logged in.
        let logged_in = connection.stats().frame_rx.max_data > 0;
        if !logged_in && silence >= SILENCE_BEFORE_LOGIN {
            connection.close(VarInt::from_u32(0), b"no answer");
        }
        if silence < SILENCE_BEFORE_TRIAL || last_trial.elapsed() < SILENCE_BEFORE_TRIAL {
            continue;
        }
        tell_of_silence(&way, terminal);
        if dialling.answers().await {
            // There is a way; this connection may not have noticed.
            endpoint.network_change().await;
            sleep(SILENCE_BEFORE_TRIAL).await;
            if heard() == last_heard.0 {
                connection.close(VarInt::from_u32(0), b"no answer");
            }
        }
        last_trial = Instant::now();
    }
}

fn tell_of_silence(way: &Way, terminal: Terminal) {
    match way {
        Way::Relay(url) => terminal.notice(&format_args!(
            "nothing comes from the node through the relay {url}: waiting for it, or for another way"
        )),
        _ => terminal.detail(&"the node is silent: trying another connection to it"),
    }
}

/// Why a node could not be connected to through iroh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IrohDialError {
    #[error(transparent)]
    IdentityKey(#[from] IdentityKeyError),
    #[error("cannot make a key for this connection: the system has no random numbers")]
    NoKey,
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(
        "no answer from the endpoint id {id} within {} s by {ways}: the node may be down, the endpoint id or an address wrong, UDP blocked on the way, or the node not connected to that relay (`alknet-node status` says so)",
        .waited.as_secs()
    )]
    NoAnswer {
        id: String,
        ways: String,
        waited: Duration,
    },
    #[error(
        "nothing says where the endpoint id {id} is: name a way to it, as in iroh:{id}@192.0.2.1:4434 or …@https://relay.example.org, or …@discovery to ask the public discovery service"
    )]
    NoWay { id: String },
    #[error("the discovery service knows no way to the endpoint id {id}")]
    NotFound { id: String },
    #[error(
        "refused to connect: who answers at {ways} does not have the key of the endpoint id {id}"
    )]
    WrongKey { id: String, ways: String },
    #[error(
        "the node {id} does not speak {}: {}",
        visible(alpn),
        match alpn.as_str() {
            SSH_ALPN => "its SSH plugin is not loaded",
            _ => "no plugin that it has loaded serves that; `alknet-node plugins list` says which do",
        }
    )]
    NotSpoken { id: String, alpn: String },
    #[error("cannot connect to the endpoint id {id}: {source}")]
    Connect { id: String, source: ConnectError },
}

impl IrohDialError {
    /// Whether trying again would fail the same way.
    pub(crate) fn is_for_good(&self) -> bool {
        !matches!(
            self,
            Self::NoAnswer { .. }
                | Self::NotFound { .. }
                | Self::NotSpoken { .. }
                | Self::Connect { .. }
        )
    }
}

fn no_answer(address: &IrohAddress, settings: &Settings) -> IrohDialError {
    IrohDialError::NoAnswer {
        id: address.id(),
        ways: address.ways().join(", "),
        waited: settings.timeout,
    }
}

fn explain(error: ConnectError, address: &IrohAddress, settings: &Settings) -> IrohDialError {
    let id = address.id();
    match error {
        ConnectError::Relay(error) => error.into(),
        ConnectError::NoWay { .. } if address.discovery => IrohDialError::NotFound { id },
        ConnectError::NoWay { .. } => IrohDialError::NoWay { id },
        ConnectError::WrongKey { .. } => IrohDialError::WrongKey {
            id,
            ways: address.ways().join(", "),
        },
        ConnectError::AlpnRefused { .. } => IrohDialError::NotSpoken {
            id,
            alpn: String::from_utf8_lossy(&settings.alpn).into_owned(),
        },
        ConnectError::NoAnswer => no_answer(address, settings),
        source => IrohDialError::Connect { id, source },
    }
}
