//! The connection to a node: look-up, QUIC with its key check, or TCP where
//! UDP is blocked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use alknet_quic::{BindError, Client, ConnectError, NodeKey, Trust, peer_key};
use alknet_text::visible;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::identity_key::{self, IdentityKeyError};
use super::iroh::{self, IrohDialError};
use super::known_nodes::{Known, KnownNodes, KnownNodesError};
use super::link::{Link, QuicLink, TcpLink, VerifiedLink};
use super::path_mtu::{NarrowPath, QUIC_MTU_V4, QUIC_MTU_V6};
use super::path_recovery::{self, Redial};
use super::reach::{UDP_TIMEOUT, Unreached, reach, resolve};
use crate::console::terminal::Terminal;
use crate::options::args::{SSH_ALPN, Settings};
use crate::options::node::Node;
use crate::options::target::Target;

/// Connects to the node for a protocol: over QUIC, or over TCP where nothing
/// comes over UDP and it is known where the node listens there. Only over QUIC
/// the node has proven its key then.
pub(crate) async fn dial(
    node: &Node,
    settings: &Settings,
    terminal: Terminal,
) -> Result<Link, DialError> {
    if let Some(address) = &node.iroh {
        let link = iroh::dial(address, node, settings, terminal).await?;
        return Ok(Link::Iroh(link));
    }
    let quic = dial_quic(node, settings, terminal);
    tokio::pin!(quic);
    let unanswered = match timeout(UDP_TIMEOUT, &mut quic).await {
        Ok(Ok(link)) => return Ok(Link::Quic(link)),
        Ok(Err(error @ (DialError::NoAnswer { .. } | DialError::NarrowPath { .. }))) => Some(error),
        Ok(Err(error)) => return Err(error),
        Err(_) => None,
    };
    let blocked = match &unanswered {
        Some(error @ DialError::NarrowPath { .. }) => error.to_string(),
        _ => format!(
            "no answer from {} over UDP for {} s: UDP may be blocked on the way",
            node.target,
            UDP_TIMEOUT.min(settings.timeout).as_secs()
        ),
    };
    // What the node serves over TCP is SSH.
    let tcp = node
        .tcp
        .as_ref()
        .filter(|_| settings.alpn == SSH_ALPN.as_bytes());
    let tcp = match (tcp, &node.identity_key) {
        (Some(tcp), None) => tcp,
        (Some(tcp), Some(_)) => {
            terminal.notice(&format_args!(
                "{blocked}. Not trying TCP at {tcp}: this log-in shows an identity key in the QUIC handshake, and TCP has none"
            ));
            return or_wait(unanswered, quic).await;
        }
        (None, _) => {
            terminal.notice(&format_args!(
                "{blocked}, or the node down. If it listens on TCP, name that with --tcp HOST:PORT, or tcp in nodes.toml"
            ));
            return or_wait(unanswered, quic).await;
        }
    };
    terminal.notice(&format_args!("{blocked}; trying TCP at {tcp}"));
    let over_tcp = dial_tcp(tcp, settings, terminal);
    if unanswered.is_some() {
        return over_tcp.await;
    }
    tokio::pin!(over_tcp);
    tokio::select! {
        link = &mut quic => match link {
            Err(DialError::NoAnswer { .. } | DialError::NarrowPath { .. }) => over_tcp.await,
            link => link.map(Link::Quic),
        },
        link = &mut over_tcp => match link {
            Ok(link) => Ok(link),
            Err(error) => {
                terminal.notice(&error);
                quic.await.map(Link::Quic)
            }
        },
    }
}

/// The error if there is one, else the outcome of the attempt.
async fn or_wait(
    unanswered: Option<DialError>,
    quic: impl Future<Output = Result<QuicLink, DialError>>,
) -> Result<Link, DialError> {
    match unanswered {
        Some(error) => Err(error),
        None => quic.await.map(Link::Quic),
    }
}

async fn dial_tcp(
    tcp: &Target,
    settings: &Settings,
    terminal: Terminal,
) -> Result<Link, DialError> {
    let connecting = async {
        let addresses = resolve(tcp).await.map_err(|reason| DialError::Resolve {
            host: tcp.host.clone(),
            reason,
        })?;
        let link = TcpLink::connect(&addresses).await;
        link.map_err(|source| DialError::Tcp {
            target: tcp.clone(),
            source,
        })
    };
    let link = timeout(settings.timeout, connecting).await;
    let link = link.map_err(|_| DialError::NoTcpAnswer {
        target: tcp.clone(),
        waited: settings.timeout,
    })??;
    terminal.detail(&format_args!("connected over TCP to {tcp}"));
    Ok(Link::Tcp(link))
}

/// Connects over QUIC or through iroh, and makes sure that the node is the right
/// one.
pub(crate) async fn dial_verified(
    node: &Node,
    settings: &Settings,
    terminal: Terminal,
) -> Result<VerifiedLink, DialError> {
    match &node.iroh {
        Some(address) => {
            let link = iroh::dial(address, node, settings, terminal).await?;
            Ok(VerifiedLink::Iroh(link))
        }
        None => {
            let link = dial_quic(node, settings, terminal).await?;
            Ok(VerifiedLink::Quic(link))
        }
    }
}

/// Connects over QUIC and makes sure that the node is the right one: the one
/// pinned, the one known, or one never met before.
async fn dial_quic(
    node: &Node,
    settings: &Settings,
    terminal: Terminal,
) -> Result<QuicLink, DialError> {
    let expectation = Expectation::for_node(node, settings)?;
    let client = Client {
        trust: expectation.trust(),
        key: node
            .identity_key
            .as_deref()
            .map(identity_key::read)
            .transpose()?,
        alpn: settings.alpn.clone(),
        settings: node.transport(settings),
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
    let mut path_recovery = JoinSet::new();
    let receive_window = client.settings.connection_receive_window;
    let again = settings.redials.then(|| Redial {
        target: node.target.clone(),
        client,
    });
    path_recovery.spawn(path_recovery::follow(
        endpoint,
        connection.clone(),
        receive_window,
        again,
        terminal,
    ));
    Ok(QuicLink {
        connection,
        node_key,
        handshake,
        _path_recovery: path_recovery,
    })
}

/// Why a node could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    IdentityKey(#[from] IdentityKeyError),
    #[error(transparent)]
    KnownNodes(#[from] KnownNodesError),
    #[error(transparent)]
    Iroh(#[from] IrohDialError),
    #[error("cannot resolve {host:?}: {reason}")]
    Resolve { host: String, reason: String },
    #[error(
        "no answer from {target} within {} s: the node may be down, the port wrong, UDP blocked on the way, or the way too narrow: QUIC needs an MTU of {QUIC_MTU_V4} bytes (IPv6: {QUIC_MTU_V6}). Where that is so, the node is reached over its TCP listener (`tcp_listen`)",
        .waited.as_secs()
    )]
    NoAnswer { target: Target, waited: Duration },
    #[error(
        "the way to {target} carries packets of {} bytes (its MTU), and QUIC needs {}: raise the MTU, or use the node's TCP listener (`tcp_listen`)",
        .path.mtu, .path.needed
    )]
    NarrowPath { target: Target, path: NarrowPath },
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
    #[error("no answer from {target} over TCP within {} s", .waited.as_secs())]
    NoTcpAnswer { target: Target, waited: Duration },
    #[error("cannot connect to {target} over TCP: {source}")]
    Tcp { target: Target, source: io::Error },
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

/// The key that the node is expected to have, as far as it is known.
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
        Unreached::Narrow(path) => DialError::NarrowPath { target, path },
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
