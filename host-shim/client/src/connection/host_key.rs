//! The SSH host key of a node, fetched by a key exchange.

use std::time::Duration;

use alknet_ssh::{ClientError, ClientOptions, fetch_host_key};

use super::link::VerifiedLink;

/// The SSH host key of the node, as `ssh-ed25519 AAAA…`.
///
/// Runs an SSH key exchange on a stream of its own and breaks off once the
/// node has proved the key. The key is as trustworthy as the connection: the
/// caller must have verified the node key.
pub(crate) async fn fetch(link: &VerifiedLink) -> Result<String, HostKeyError> {
    let stream = link.open().await.map_err(HostKeyError::Stream)?;
    let options = ClientOptions {
        timeout: WITHIN,
        ..ClientOptions::default()
    };
    let key = fetch_host_key(stream, &options).await?;
    key.to_openssh()
        .map_err(|error| HostKeyError::Encoding(error.to_string()))
}

/// Why the host key could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeyError {
    #[error("cannot ask the node for its SSH host key: {0}")]
    Stream(String),
    #[error("cannot ask the node for its SSH host key: {0}; give it with --host-key")]
    Exchange(#[from] ClientError),
    #[error("cannot write the node's SSH host key: {0}")]
    Encoding(String),
}

const WITHIN: Duration = Duration::from_secs(10);
