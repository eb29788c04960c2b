use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alknet_quic::QuicStream;
use russh::client::{Config, Handler, connect_stream};
use russh::keys::{PublicKey, PublicKeyOrCertificate};

/// The SSH host key of the node, as `ssh-ed25519 AAAA…`.
///
/// Runs an SSH key exchange on a stream of its own and breaks off once the
/// node has proved the key. The key is as trustworthy as the connection: the
/// caller must have verified the node key.
pub(crate) async fn fetch(connection: &quinn::Connection) -> Result<String, HostKeyError> {
    let presented = Arc::new(OnceLock::new());
    let handler = Witness(Arc::clone(&presented));
    let exchange = async {
        let stream = connection
            .open_bi()
            .await
            .map_err(|error| HostKeyError::Stream(error.to_string()))?;
        connect_stream(
            Arc::new(Config::default()),
            QuicStream::new(stream),
            handler,
        )
        .await
        .map(drop)
        .map_err(HostKeyError::Exchange)
    };
    let outcome = tokio::time::timeout(WITHIN, exchange).await;
    // Breaking off is an error to the SSH library, so the key counts first.
    match presented.get() {
        Some(Some(key)) => key
            .to_openssh()
            .map_err(|error| HostKeyError::Encoding(error.to_string())),
        Some(None) => Err(HostKeyError::Certificate),
        None => match outcome {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Err(HostKeyError::Missing),
            Err(_) => Err(HostKeyError::Silence),
        },
    }
}

/// Why the host key could not be learnt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeyError {
    #[error("cannot ask the node for its SSH host key: {0}")]
    Stream(String),
    #[error("cannot ask the node for its SSH host key: {0}")]
    Exchange(#[source] russh::Error),
    #[error("the node presented no SSH host key")]
    Missing,
    #[error("the node presented a host certificate; give its bare key with --host-key")]
    Certificate,
    #[error("cannot write the node's SSH host key: {0}")]
    Encoding(String),
    #[error(
        "the node did not present its SSH host key within {} s",
        WITHIN.as_secs()
    )]
    Silence,
}

const WITHIN: Duration = Duration::from_secs(10);

/// Notes the host key, or that it was a certificate, and wants nothing else.
struct Witness(Arc<OnceLock<Option<PublicKey>>>);

impl Handler for Witness {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let _ = self.0.set(match presented {
            PublicKeyOrCertificate::PublicKey { key, .. } => Some(key.clone()),
            PublicKeyOrCertificate::Certificate(_) => None,
        });
        Ok(false)
    }
}
