//! The node's side of TLS and QUIC, whose ALPNs can change while the endpoint
//! runs.

use std::sync::{Arc, PoisonError, RwLock};

use quinn::crypto::rustls::QuicServerConfig;
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};

use crate::path_mtu::Path;
use crate::tls::{ClientVerifier, certified, provider};
use crate::{NodeSecret, TransportSettings, reset};

/// The server half of an endpoint, whose list of ALPNs may change while it runs.
///
/// ```no_run
/// # use alknet_quic::{NodeSecret, Server, TransportSettings, bind_endpoint};
/// # fn run(secret: NodeSecret) -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::new(&secret, &TransportSettings::default())?;
/// let addr = "[::]:4433".parse()?;
/// let endpoint = bind_endpoint(addr, server.endpoint_config(), server.config(&[])?)?;
/// endpoint.set_server_config(Some(server.config(&[b"alknet/ssh".to_vec()])?));
/// # async {
/// while let Some(incoming) = endpoint.accept().await {
///     let connecting = server.accept(incoming);
/// }
/// # };
/// # Ok(())
/// # }
/// ```
pub struct Server {
    tls: rustls::ServerConfig,
    base: quinn::ServerConfig,
    /// The transport on loopback, and the newest configuration with it.
    loopback: Arc<quinn::TransportConfig>,
    on_loopback: RwLock<Arc<quinn::ServerConfig>>,
    endpoint: quinn::EndpointConfig,
}

impl Server {
    /// A node that proves itself with `secret`, as a raw public key (RFC 7250)
    /// and nothing else, and asks its clients for theirs without insisting.
    ///
    /// # Errors
    /// None in practice; the TLS library has the last word.
    pub fn new(secret: &NodeSecret, settings: &TransportSettings) -> Result<Self, ServerError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(ClientVerifier { algorithms }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(
                secret,
            ))));
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.alpn_protocols = vec![unguessable(&tls)?];

        let mut base = quinn::ServerConfig::with_crypto(into_quic(tls.clone())?);
        base.transport_config(settings.before_login(Path::Ethernet));
        let loopback = settings.before_login(Path::Loopback);
        let endpoint = reset::endpoint_config(secret)?;
        Ok(Self {
            tls,
            loopback,
            on_loopback: RwLock::new(Arc::new(base.clone())),
            base,
            endpoint,
        })
    }

    /// The part of the configuration that does not change while an endpoint
    /// lives. It derives from the node's key alone, so that a node that lost
    /// its connections in a crash can tell their clients so (RFC 9000 section
    /// 10.3).
    pub fn endpoint_config(&self) -> quinn::EndpointConfig {
        self.endpoint.clone()
    }

    /// The configuration for an endpoint that speaks `alpns`, for a new one or
    /// for [`quinn::Endpoint::set_server_config`]. All configurations of one
    /// `Server` honour each other's retry tokens, so handshakes under way
    /// survive a change.
    ///
    /// With an empty list every handshake is refused (`no_application_protocol`,
    /// RFC 9001 section 8.1), like any that offers none of `alpns`.
    ///
    /// # Errors
    /// When an ALPN cannot be expressed.
    pub fn config(&self, alpns: &[Vec<u8>]) -> Result<quinn::ServerConfig, ServerError> {
        if let Some(alpn) = alpns.iter().find(|a| a.is_empty() || a.len() > 255) {
            return Err(ServerError::Alpn { length: alpn.len() });
        }
        let mut config = self.base.clone();
        if !alpns.is_empty() {
            let mut tls = self.tls.clone();
            tls.alpn_protocols = alpns.to_vec();
            config.crypto = into_quic(tls)?;
        }
        let mut on_loopback = config.clone();
        on_loopback.transport_config(Arc::clone(&self.loopback));
        let mut current = self
            .on_loopback
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(on_loopback);
        Ok(config)
    }

    /// Accepts a connection with the newest [`config`](Self::config), and has
    /// it send large packets where its peer is on this machine, as TCP does:
    /// they cost a fraction of the processor time.
    ///
    /// # Errors
    /// Those of [`quinn::Incoming::accept`].
    pub fn accept(
        &self,
        incoming: quinn::Incoming,
    ) -> Result<quinn::Connecting, quinn::ConnectionError> {
        if Path::to(incoming.remote_address()) == Path::Ethernet {
            return incoming.accept();
        }
        let current = self
            .on_loopback
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let config = Arc::clone(&current);
        drop(current);
        incoming.accept_with(config)
    }
}

/// Why a server configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An ALPN that TLS cannot carry (RFC 7301 section 3.1).
    #[error("an ALPN is 1 to 255 bytes long, this one is {length}")]
    Alpn {
        /// Its length in bytes.
        length: usize,
    },
    /// The TLS library refused the settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

fn into_quic(tls: rustls::ServerConfig) -> Result<Arc<QuicServerConfig>, rustls::Error> {
    QuicServerConfig::try_from(tls)
        .map(Arc::new)
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// A protocol name that no client can offer. rustls takes an empty list for
/// "ALPN is not in use" and accepts clients that offer none, so an endpoint
/// that speaks nothing is given this instead.
fn unguessable(tls: &rustls::ServerConfig) -> Result<Vec<u8>, rustls::Error> {
    let mut alpn = vec![0; 32];
    tls.crypto_provider().secure_random.fill(&mut alpn)?;
    Ok(alpn)
}
