//! The way out of the node: straight, or through an upstream proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alknet_handler::{Capabilities, ConfigError};
use alknet_socks5::upstream::UpstreamError;
use alknet_socks5::{Credentials, Target, upstream};
use alknet_ssh_config::{Forwarding, ProxyKind};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dial::dial;
use super::resolve::{LookUpSlot, Resolver};
use crate::server::secret::granted;

/// Why no address could be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the upstream proxy: {0}")]
    Proxy(#[from] UpstreamError),
}

/// How connections leave the node.
#[derive(Debug)]
pub(crate) enum Egress {
    Direct,
    Proxy {
        kind: upstream::Kind,
        host: String,
        port: u16,
        credentials: Option<Credentials>,
        /// When somebody last heard that the proxy is not what it should be.
        complained: Mutex<Option<Instant>>,
    },
}

/// The least time between two complaints about the proxy.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);

impl Egress {
    /// The way out that the configuration asks for, with the credentials the
    /// node granted.
    ///
    /// # Errors
    /// When the credentials are not there, or are not `user:password`.
    pub(crate) fn new(
        config: &Forwarding,
        capabilities: &Capabilities,
    ) -> Result<Self, ConfigError> {
        let Some(proxy) = config.egress.proxy() else {
            return Ok(Self::Direct);
        };
        let credentials = match &config.egress.credentials {
            None => None,
            Some(name) => Some(credentials(name, capabilities)?),
        };
        Ok(Self::Proxy {
            kind: match proxy.kind {
                ProxyKind::Socks5 => upstream::Kind::Socks5,
                ProxyKind::Http => upstream::Kind::Http,
            },
            host: proxy.host,
            port: proxy.port,
            credentials,
            complained: Mutex::new(None),
        })
    }

    /// Tells the operator when the proxy itself is the trouble, now and then.
    pub(crate) fn complain(&self, error: &UpstreamError) {
        use UpstreamError as Error;
        let Self::Proxy { complained, .. } = self else {
            return;
        };
        let proxy_is_at_fault = matches!(
            error,
            Error::AuthRequired | Error::AuthFailed | Error::Protocol(_) | Error::Closed
        );
        let mut last = complained.lock().unwrap_or_else(PoisonError::into_inner);
        if proxy_is_at_fault && last.is_none_or(|last| last.elapsed() >= BETWEEN_COMPLAINTS) {
            *last = Some(Instant::now());
            tracing::warn!(
                target: "alknet_ssh::forward",
                reason = %error,
                "the upstream proxy cannot be used"
            );
        }
    }

    /// Connects to an address; `resolver` looks up the proxy's name.
    ///
    /// # Errors
    /// When it cannot be reached, or the proxy does not let us.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        resolver: &dyn Resolver,
    ) -> Result<TcpStream, ConnectError> {
        match self {
            Self::Direct => Ok(TcpStream::connect(address).await?),
            Self::Proxy {
                kind,
                host,
                port,
                credentials,
                ..
            } => {
                let mut stream = connect_to_proxy(resolver, host, *port).await?;
                // Small messages in turns.
                let _ = stream.set_nodelay(true);
                let target = Target::from(address);
                upstream::connect(&mut stream, *kind, &target, credentials.as_ref()).await?;
                Ok(stream)
            }
        }
    }
}

async fn connect_to_proxy(resolver: &dyn Resolver, host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolver.resolve(host, port, LookUpSlot::default()).await?;
    let (stream, _) = dial(&addresses, TcpStream::connect).await?;
    Ok(stream)
}

fn credentials(name: &str, capabilities: &Capabilities) -> Result<Credentials, ConfigError> {
    let pointer = "/forwarding/egress/credentials";
    let bytes = granted(capabilities, name, pointer)?.expose();
    let fault = |message: String| ConfigError {
        pointer: pointer.to_owned(),
        message,
    };
    let colon = bytes.iter().position(|&byte| byte == b':').ok_or_else(|| {
        fault(format!(
            "the secret {name:?} is not of the form user:password; store it again with `alknet-node secret set {name}`"
        ))
    })?;
    let (user, password) = bytes.split_at(colon);
    let password = password.get(1..).unwrap_or_default();
    Credentials::new(user, password)
        .map_err(|error| fault(format!("the secret {name:?} cannot be used: {error}")))
}
