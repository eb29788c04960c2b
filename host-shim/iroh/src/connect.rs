//! The client's side: a connection to an endpoint id, and why there is none.

use std::net::SocketAddr;

use alknet_quic::NodeKey;
use alknet_text::{visible, visible_bytes};
use iroh::endpoint::{
    ConnectError as IrohError, ConnectWithOptsError, ConnectingError, Connection, ConnectionError,
    TransportErrorCode,
};
use iroh::{Endpoint, EndpointAddr, TransportAddr};

use crate::endpoint::relay_url;
use crate::{BindError, endpoint_id};

/// A node, and the ways to it that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its endpoint id, which is its node key.
    pub key: NodeKey,
    /// Addresses at which it may be reached directly.
    pub direct: Vec<SocketAddr>,
    /// The URLs of relays that it may be reached through.
    pub relays: Vec<String>,
    /// Whether to ask the public discovery service as well.
    pub discovery: bool,
}

/// Connects to a node. All ways are tried at once, and the connection goes over to a
/// direct one as soon as one is found.
///
/// There is no timeout but the transport's idle timeout; give the future one of
/// your own for a shorter wait. Dropping it abandons the attempt.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    endpoint: &Endpoint,
    node: &NodeAddress,
    alpn: &[u8],
) -> Result<Connection, ConnectError> {
    let id = endpoint_id(&node.key).ok_or(ConnectError::NotAKey { key: node.key })?;
    let relays = node.relays.iter().map(|text| relay_url(text));
    let relays = relays.collect::<Result<Vec<_>, _>>()?;
    let direct = node.direct.iter().copied().map(TransportAddr::Ip);
    let ways = relays.into_iter().map(TransportAddr::Relay).chain(direct);
    let address = EndpointAddr::from_parts(id, ways);
    let connected = endpoint.connect(address, alpn).await;
    connected.map_err(|error| ConnectError::new(error, node, alpn))
}

/// Why a client did not get a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint id cannot be a key.
    #[error("{key} is not an endpoint id: no key has that public half")]
    NotAKey {
        /// The key that was given.
        key: NodeKey,
    },
    /// A relay's URL is not one.
    #[error(transparent)]
    Relay(#[from] BindError),
    /// The client has the key of the node.
    #[error("this is the client's own key {key}: nobody connects to itself")]
    Itself {
        /// The key of both.
        key: NodeKey,
    },
    /// Nobody says where the node is.
    #[error(
        "nothing is known of the way to {key}: give it a direct address or a relay, or ask discovery"
    )]
    NoWay {
        /// The node's key.
        key: NodeKey,
    },
    /// Someone else answered than the node expected.
    #[error("who answered does not have the key {expected}")]
    WrongKey {
        /// The key that was expected.
        expected: NodeKey,
    },
    /// The node does not speak the protocol.
    #[error("the node does not speak {alpn}")]
    AlpnRefused {
        /// The protocol asked for.
        alpn: String,
    },
    /// Nothing was heard from the node within the idle timeout.
    #[error("no answer")]
    NoAnswer,
    /// The node answered that it takes no connection, now or from us.
    #[error("the node refused the connection")]
    Refused,
    /// The node closed the connection during the handshake, with its own words.
    #[error("the node closed the connection: {reason} (code {code})")]
    Closed {
        /// The protocol's code.
        code: u64,
        /// The node's reason; may be empty.
        reason: String,
    },
    /// Anything else, in the library's words.
    #[error("{0}")]
    Other(String),
}

impl ConnectError {
    fn new(error: IrohError, node: &NodeAddress, alpn: &[u8]) -> Self {
        let other = |text: String| Self::Other(visible(&text).into_owned());
        match error {
            IrohError::Connect { source, .. } => match source {
                ConnectWithOptsError::SelfConnect { .. } => Self::Itself { key: node.key },
                ConnectWithOptsError::NoAddress { .. } => Self::NoWay { key: node.key },
                source => other(format!("{source:#}")),
            },
            IrohError::Connecting { source, .. } => match source {
                ConnectingError::ConnectionError { source, .. } => {
                    Self::from_connection(source, node, alpn)
                }
                ConnectingError::HandshakeFailure { .. } => Self::WrongKey { expected: node.key },
                source => other(format!("{source:#}")),
            },
            IrohError::Connection { source, .. } => Self::from_connection(source, node, alpn),
            error => other(format!("{error:#}")),
        }
    }

    fn from_connection(error: ConnectionError, node: &NodeAddress, alpn: &[u8]) -> Self {
        match error {
            ConnectionError::TimedOut => Self::NoAnswer,
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: close.error_code.into_inner(),
                reason: visible_bytes(&close.reason),
            },
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
            {
                Self::AlpnRefused {
                    alpn: String::from_utf8_lossy(alpn).into_owned(),
                }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            // Our own TLS layer broke off: the key was not proven.
            ConnectionError::TransportError(error) if is_about_the_key(error.code) => {
                Self::WrongKey { expected: node.key }
            }
            error => Self::Other(visible(&error.to_string()).into_owned()),
        }
    }
}

/// The number of the TLS alert `no_application_protocol` (RFC 7301 section
/// 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The numbers of the TLS alerts about certificates, which raw public keys count
/// as (RFC 8446 section 6.2): `bad_certificate` to `certificate_unknown`,
/// `unknown_ca`, `access_denied` and `decrypt_error`.
const CERTIFICATE_ALERTS: [u8; 8] = [42, 43, 44, 45, 46, 48, 49, 51];

fn is_about_the_key(code: TransportErrorCode) -> bool {
    let alerts = CERTIFICATE_ALERTS.iter().copied();
    alerts.map(TransportErrorCode::crypto).any(|it| it == code)
}
