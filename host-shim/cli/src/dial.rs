use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use alknet_quic::{
    BindError, Client, ClientEndpoint, ConnectError, NodeKey, Trust, connect, peer_key,
};
use alknet_text::visible;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::{ConnectionError, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::args::{SSH_ALPN, Settings};
use crate::identity_key::{self, IdentityKeyError};
use crate::known_nodes::{Known, KnownNodes, KnownNodesError};
use crate::node::Node;
use crate::roam;
use crate::target::Target;
use crate::terminal::Terminal;

/// A connection to a node whose key was verified.
pub(crate) struct Link {
    pub(crate) connection: quinn::Connection,
    pub(crate) node_key: NodeKey,
    /// How long it took to connect, the look-up of the name included.
    pub(crate) handshake: Duration,
    /// Follows the connection to other networks; ends with it.
    _roaming: JoinSet<()>,
}

impl Link {
    /// How the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.connection.close_reason().map(|error| end(&error))
    }

    /// Says goodbye and sees to it that the goodbye is on its way, so that the
    /// node need not wait for a timeout.
    pub(crate) async fn close(self) {
        // What the streams still hold goes first: a closed connection sends
        // nothing but the close. The connection's own task does the sending;
        // it has its turns here.
        for _ in 0..SENDING_TURNS {
            tokio::task::yield_now().await;
        }
        self.connection.close(VarInt::from_u32(0), b"");
        for _ in 0..GOODBYE_TURNS {
            if self.connection.stats().frame_tx.connection_close > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// What to tell a user of how a connection ended.
pub(crate) fn end(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Reset => "the node has restarted".to_owned(),
        ConnectionError::TimedOut => "it is silent".to_owned(),
        ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => {
            "it closed the connection".to_owned()
        }
        error => visible(&error.to_string()).into_owned(),
    }
}

/// Connects to the node for a protocol and makes sure that it is the right
/// one: the one pinned, the one known, or one never met before.
pub(crate) async fn dial(
    node: &Node,
    settings: &Settings,
    terminal: Terminal,
) -> Result<Link, DialError> {
    let expectation = Expectation::for_node(node, settings)?;
    let client = Client {
        trust: expectation.trust(),
        key: node
            .identity_key
            .as_deref()
            .map(identity_key::read)
            .transpose()?,
        alpn: settings.alpn.clone(),
        settings: settings.transport.clone(),
    };
    let started = Instant::now();
    let (endpoint, connection) = timeout(settings.timeout, reach(&node.target, &client))
        .await
        .map_err(|_| DialError::no_answer(node, settings))?
        .map_err(|error| explain(error, node, settings, &expectation))?;
    let handshake = started.elapsed();
    let node_key = peer_key(&connection).ok_or(DialError::NoNodeKey)?;
    terminal.detail(&format_args!(
        "connected to {node_key} at {} in {} ms",
        connection.remote_address(),
        handshake.as_millis()
    ));
    if let Expectation::None(known_nodes) = &expectation {
        first_meeting(known_nodes, &node.target, node_key, terminal)?;
    }
    let mut roaming = JoinSet::new();
    roaming.spawn(roam::follow(endpoint, connection.clone(), terminal));
    Ok(Link {
        connection,
        node_key,
        handshake,
        _roaming: roaming,
    })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    IdentityKey(#[from] IdentityKeyError),
    #[error(transparent)]
    KnownNodes(#[from] KnownNodesError),
    #[error("cannot resolve {host:?}: {reason}")]
    Resolve { host: String, reason: String },
    #[error(
        "no answer from {target} within {} s: the node may be down, the port wrong, or UDP blocked on the way",
        .waited.as_secs()
    )]
    NoAnswer { target: Target, waited: Duration },
    #[error(
        "the node at {target} does not speak {}: {}",
        visible(alpn),
        match alpn.as_str() {
            SSH_ALPN => "its SSH plugin is not loaded",
            _ => "no plugin that it has loaded serves that; `alknet-node plugins list` says which do",
        }
    )]
    NotSpoken { target: Target, alpn: String },
    #[error(
        "refused to connect to {target}: expected the node key {expected}, the node presented {presented}"
    )]
    WrongKey {
        target: Target,
        expected: NodeKey,
        presented: NodeKey,
    },
    #[error(transparent)]
    ChangedKey(#[from] Box<ChangedKey>),
    #[error("the node presented no key")]
    NoNodeKey,
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot connect to {target}: {source}")]
    Connect {
        target: Target,
        source: ConnectError,
    },
}

impl DialError {
    fn no_answer(node: &Node, settings: &Settings) -> Self {
        Self::NoAnswer {
            target: node.target.clone(),
            waited: settings.timeout,
        }
    }
}

/// The node has another key than the one on record.
#[derive(Debug, thiserror::Error)]
#[error(
    "\
refused to connect
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@  WARNING: THE KEY OF NODE {target} HAS CHANGED!
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Either the node was set up again, or someone else is answering in its place.
  expected:  {expected} ({path}:{line})
  presented: {presented}
Ask whoever runs the node for its key. If the new one is right, remove line
{line} of {path} and connect again.",
    expected = .known.key,
    line = .known.line,
    path = .path.display()
)]
pub(crate) struct ChangedKey {
    target: Target,
    path: PathBuf,
    known: Known,
    presented: NodeKey,
}

/// The sending needs one turn; more are for a socket that is not ready.
const SENDING_TURNS: usize = 4;
const GOODBYE_TURNS: usize = 100;

/// RFC 8305 section 8, "Connection Attempt Delay".
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// What is known of the node before it is asked.
enum Expectation {
    Pinned(NodeKey),
    Known(KnownNodes, Known),
    None(KnownNodes),
}

impl Expectation {
    fn for_node(node: &Node, settings: &Settings) -> Result<Self, KnownNodesError> {
        if let Some(key) = node.node_key {
            return Ok(Self::Pinned(key));
        }
        let known_nodes = KnownNodes::at(settings.known_nodes.as_deref())?;
        Ok(match known_nodes.find(&node.target)? {
            Some(known) => Self::Known(known_nodes, known),
            None => Self::None(known_nodes),
        })
    }

    fn trust(&self) -> Trust {
        match self {
            Self::Pinned(key) => Trust::Pinned(*key),
            Self::Known(_, known) => Trust::Pinned(known.key),
            Self::None(_) => Trust::CallerDecides,
        }
    }
}

/// Why no address of the node led to it.
enum Unreached {
    Resolve(String),
    Bind(BindError),
    Connect(ConnectError),
}

async fn reach(
    target: &Target,
    client: &Client,
) -> Result<(ClientEndpoint, quinn::Connection), Unreached> {
    let mut addresses = resolve(target).await?.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    let mut next_at = Instant::now();
    loop {
        if next_at <= Instant::now()
            && let Some(address) = addresses.next()
        {
            attempts.push(attempt(address, client));
            next_at = Instant::now() + NEXT_ADDRESS_AFTER;
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(reached) => return Ok(reached),
                Err(error) => {
                    failure = Some(more_telling(failure, error));
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if addresses.len() > 0 => {}
            else => return Err(failure.unwrap_or(Unreached::Resolve(NO_ADDRESS.to_owned()))),
        }
    }
}

const NO_ADDRESS: &str = "it has no address";

async fn attempt(
    address: SocketAddr,
    client: &Client,
) -> Result<(ClientEndpoint, quinn::Connection), Unreached> {
    let endpoint = ClientEndpoint::bind(address).map_err(Unreached::Bind)?;
    let connection = connect(endpoint.quinn(), address, client)
        .await
        .map_err(Unreached::Connect)?;
    Ok((endpoint, connection))
}

/// An address that answered says more than one that did not.
fn more_telling(before: Option<Unreached>, now: Unreached) -> Unreached {
    let answered = |error: &Unreached| {
        !matches!(
            error,
            Unreached::Bind(_)
                | Unreached::Connect(ConnectError::NoAnswer | ConnectError::Local(_))
        )
    };
    match before {
        Some(before) if answered(&before) || !answered(&now) => before,
        _ => now,
    }
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Unreached> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    Ok(found
        .map_err(|error| Unreached::Resolve(error.to_string()))?
        .collect())
}

fn explain(
    error: Unreached,
    node: &Node,
    settings: &Settings,
    expectation: &Expectation,
) -> DialError {
    let target = node.target.clone();
    match error {
        Unreached::Resolve(reason) => DialError::Resolve {
            host: target.host,
            reason,
        },
        Unreached::Bind(error) => error.into(),
        Unreached::Connect(ConnectError::NoAnswer) => DialError::no_answer(node, settings),
        Unreached::Connect(ConnectError::AlpnRefused { .. }) => DialError::NotSpoken {
            target,
            alpn: String::from_utf8_lossy(&settings.alpn).into_owned(),
        },
        Unreached::Connect(ConnectError::WrongNodeKey {
            expected,
            presented,
        }) => match expectation {
            Expectation::Known(known_nodes, known) => Box::new(ChangedKey {
                target,
                path: known_nodes.path().to_owned(),
                known: *known,
                presented,
            })
            .into(),
            _ => DialError::WrongKey {
                target,
                expected,
                presented,
            },
        },
        Unreached::Connect(source) => DialError::Connect { target, source },
    }
}

fn first_meeting(
    known_nodes: &KnownNodes,
    target: &Target,
    key: NodeKey,
    terminal: Terminal,
) -> Result<(), DialError> {
    match known_nodes.record(target, key) {
        Ok(None) => terminal.notice(&format_args!(
            "first connection to {target}: trusting its key {key} from now on (recorded in {})",
            known_nodes.path().display()
        )),
        // Another process met the node a moment ago.
        Ok(Some(known)) if known.key == key => {}
        Ok(Some(known)) => {
            return Err(Box::new(ChangedKey {
                target: target.clone(),
                path: known_nodes.path().to_owned(),
                known,
                presented: key,
            })
            .into());
        }
        Err(error @ KnownNodesError::Unwritable { .. }) => terminal.notice(&format_args!(
            "first connection to {target}, whose key is {key}: trusting it this once, since it cannot be recorded ({error})"
        )),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
