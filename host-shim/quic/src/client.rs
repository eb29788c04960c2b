//! The client's side of a connection: which node it trusts, and why connecting
//! failed.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use alknet_text::{visible, visible_bytes};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, TransportErrorCode};
use rustls::client::Resumption;

use crate::path_mtu::Path;
use crate::tls::{ClientKey, NodeVerifier, certified, provider};
use crate::{NodeKey, NodeSecret, TransportSettings};

/// Which node a client will talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Only the node that holds this key.
    Pinned(NodeKey),
    /// Any node that proves it holds the key it presents. The caller must look
    /// at [`peer_key`](crate::peer_key) and decide before it sends anything.
    CallerDecides,
}

/// What a client brings to a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Which node to accept.
    pub trust: Trust,
    /// The client's own key, if it is to show one.
    pub key: Option<NodeSecret>,
    /// The protocol to speak, such as `alknet/ssh`.
    pub alpn: Vec<u8>,
    /// Windows and timeouts.
    pub settings: TransportSettings,
}

/// Connects `endpoint` to the node at `addr`.
///
/// There is no timeout but the transport's idle timeout; give the future one
/// of your own for a shorter wait. Dropping it abandons the attempt.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    endpoint: &quinn::Endpoint,
    addr: SocketAddr,
    client: &Client,
) -> Result<quinn::Connection, ConnectError> {
    let presented = Arc::new(OnceLock::new());
    let path = Path::to(addr);
    let config = quinn_config(client, path, Arc::clone(&presented))?;
    let connecting = endpoint.connect_with(config, addr, UNUSED_NAME)?;
    connecting.await.map_err(|error| {
        if let (Trust::Pinned(expected), Some(&presented)) = (client.trust, presented.get())
            && expected != presented
        {
            return ConnectError::WrongNodeKey {
                expected,
                presented,
            };
        }
        ConnectError::from_connection(error, &client.alpn)
    })
}

/// Why a client did not get a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Someone else answered than the node expected.
    #[error("expected the node key {expected}, the node presented {presented}")]
    WrongNodeKey {
        /// The key that was pinned.
        expected: NodeKey,
        /// The key that was presented.
        presented: NodeKey,
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
    /// The two sides could not agree on TLS or QUIC.
    #[error("the handshake failed: {}", visible(&.0.to_string()))]
    Handshake(#[source] ConnectionError),
    /// The connection could not even be tried.
    #[error("cannot connect: {0}")]
    Local(#[from] quinn::ConnectError),
    /// The TLS library refused our own settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl ConnectError {
    fn from_connection(error: ConnectionError, alpn: &[u8]) -> Self {
        let code = match &error {
            ConnectionError::TransportError(error) => Some(error.code),
            ConnectionError::ConnectionClosed(close) => Some(close.error_code),
            _ => None,
        };
        match (error, code) {
            (_, Some(code)) if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) => {
                Self::AlpnRefused {
                    alpn: String::from_utf8_lossy(alpn).into_owned(),
                }
            }
            (_, Some(TransportErrorCode::CONNECTION_REFUSED)) => Self::Refused,
            (ConnectionError::TimedOut, _) => Self::NoAnswer,
            (ConnectionError::ApplicationClosed(close), _) => Self::Closed {
                code: close.error_code.into_inner(),
                reason: visible_bytes(&close.reason),
            },
            (error, _) => Self::Handshake(error),
        }
    }
}

/// The number of the TLS alert `no_application_protocol` (RFC 7301 section
/// 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The server name that quinn asks for; with raw keys it is neither sent nor
/// checked.
const UNUSED_NAME: &str = "node";

pub(crate) fn quinn_config(
    client: &Client,
    path: Path,
    presented: Arc<OnceLock<NodeKey>>,
) -> Result<quinn::ClientConfig, ConnectError> {
    let provider = provider();
    let verifier = NodeVerifier {
        expected: match client.trust {
            Trust::Pinned(key) => Some(key),
            Trust::CallerDecides => None,
        },
        presented,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(ClientKey(client.key.as_ref().map(certified))));
    tls.alpn_protocols = vec![client.alpn.clone()];
    tls.enable_sni = false;
    tls.resumption = Resumption::disabled();

    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(client.settings.to_quinn(path));
    Ok(config)
}
