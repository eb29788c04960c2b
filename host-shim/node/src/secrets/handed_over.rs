//! What the monitor hands to the node that it starts as a user without rights,
//! in a sealed descriptor: the files with the secrets are root's alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use alknet_handler::Secret;
use alknet_quic::NodeSecret;
use alknet_vault::Vault;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::secrets::keys::{self, KeysError, NodeKeys};

/// The most bytes that a descriptor takes.
const LONGEST: usize = 1024 * 1024;

/// Keys and secrets of a node, and what its start was asked for. Wiped when
/// dropped, and without `Debug`.
pub(crate) struct HandedOver {
    wire: Wire,
    /// The addresses and the stanza that a start was asked for.
    pub(crate) start: StartOptions,
    secrets: Arc<BTreeMap<String, Secret>>,
}

/// What the command line asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartOptions {
    pub(crate) udp: Option<SocketAddr>,
    pub(crate) tcp: Option<SocketAddr>,
    /// Whether to show the `ssh_config` stanza, and the private key to name in
    /// it.
    pub(crate) stanza: bool,
    pub(crate) identity_file: Option<PathBuf>,
}

/// The secrets as they are passed on. Bytes are in base64.
#[derive(Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Wire {
    /// The node's key: PKCS #8 (RFC 8410).
    node: String,
    /// The host keys, in OpenSSH's format.
    host_keys: Vec<String>,
    secrets: Vec<(String, String)>,
}

impl HandedOver {
    /// The keys of a node, without secrets.
    pub(crate) fn new(vault: &Vault, keys: &NodeKeys) -> Self {
        let host_keys = keys.host_keys.iter();
        Self {
            wire: Wire {
                node: BASE64_STANDARD.encode(&*vault.node_identity().to_pkcs8_der()),
                host_keys: host_keys
                    .map(|key| BASE64_STANDARD.encode(key.private.expose()))
                    .collect(),
                secrets: Vec::new(),
            },
            start: StartOptions::default(),
            secrets: Arc::default(),
        }
    }

    /// Adds a secret.
    pub(crate) fn add(&mut self, name: &str, secret: &Secret) {
        let value = BASE64_STANDARD.encode(secret.expose());
        self.wire.secrets.push((name.to_owned(), value));
    }

    /// The bytes for the descriptor; `None` when they are too many.
    pub(crate) fn to_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        // In one piece: a buffer that grows would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * LONGEST));
        serde_json::to_writer(&mut *bytes, &(&self.wire, &self.start)).ok()?;
        (bytes.len() <= LONGEST).then_some(bytes)
    }

    /// Reads the bytes of a descriptor; `None` when this program did not write
    /// them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (wire, start): (Wire, StartOptions) = serde_json::from_slice(bytes).ok()?;
        let secrets = wire.secrets.iter().map(|(name, value)| {
            let value = BASE64_STANDARD.decode(value).ok()?;
            Some((name.clone(), Secret::new(value)))
        });
        let secrets = secrets.collect::<Option<_>>()?;
        Some(Self {
            wire,
            start,
            secrets: Arc::new(secrets),
        })
    }

    /// The keys.
    pub(crate) fn keys(&self) -> Result<NodeKeys, KeysError> {
        let decode = |text: &String| {
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map(Zeroizing::new).map_err(|_| KeysError::Derivation)
        };
        let node = decode(&self.wire.node)?;
        let host_keys = self.wire.host_keys.iter().map(|text| {
            let text = decode(text)?;
            keys::host_key(&text).map_err(|_| KeysError::Derivation)
        });
        Ok(NodeKeys {
            node: NodeSecret::from_pkcs8_der(&node).map_err(|_| KeysError::Derivation)?,
            host_keys: host_keys.collect::<Result<_, _>>()?,
        })
    }

    /// The secrets, by name.
    pub(crate) fn secrets(&self) -> Arc<BTreeMap<String, Secret>> {
        Arc::clone(&self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use alknet_vault::Mnemonic;

    use super::*;

    #[test]
    fn what_is_handed_over_arrives() {
        let vault = Vault::from_mnemonic(&Mnemonic::generate().unwrap(), "");
        let keys = keys::from_vault(&vault).unwrap();
        let mut given = HandedOver::new(&vault, &keys);
        given.add("proxy", &Secret::new(b"user:\xff".to_vec()));
        given.start.stanza = true;
        let taken = HandedOver::from_bytes(&given.to_bytes().unwrap()).unwrap();
        assert_eq!(taken.keys().unwrap().public(), keys.public());
        assert_eq!(taken.secrets().get("proxy").unwrap().expose(), b"user:\xff");
        assert_eq!(taken.start, given.start);
        assert!(HandedOver::from_bytes(b"{}").is_none());
    }
}
