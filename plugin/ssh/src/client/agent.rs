//! The ssh-agent of the user: lists its keys, adds one, and has it sign
//! (draft-miller-ssh-agent).

use std::path::Path;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// An ssh-agent (draft-miller-ssh-agent), and what it holds.
pub struct Agent {
    client: AgentClient<UnixStream>,
    pub(super) identities: Vec<AgentIdentity>,
}

/// A key that an agent holds.
#[derive(Clone, Debug)]
pub struct AgentKey {
    /// The public key.
    pub key: PublicKey,
    /// Whether it comes with a certificate.
    pub is_certificate: bool,
    /// The agent's name for it.
    pub comment: String,
}

/// Why an agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It does not answer.
    #[error("no answer")]
    Silent,
    /// It cannot be reached, refuses, or talks nonsense.
    #[error("{0}")]
    Failed(#[from] russh::keys::Error),
}

/// The time that an agent may take to list its keys.
const LISTS_WITHIN: Duration = Duration::from_secs(10);

impl Agent {
    /// Asks the agent at `socket` what it holds.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer within 10 s.
    pub async fn connect(socket: &Path) -> Result<Self, AgentError> {
        let listing = async {
            let mut client = AgentClient::connect_uds(socket).await?;
            let identities = client.request_identities().await?;
            Ok(Self { client, identities })
        };
        timeout(LISTS_WITHIN, listing)
            .await
            .map_err(|_| AgentError::Silent)?
    }

    /// The keys that the agent holds.
    pub fn keys(&self) -> impl Iterator<Item = AgentKey> {
        self.identities.iter().map(|identity| AgentKey {
            key: identity.public_key().into_owned(),
            is_certificate: matches!(identity, AgentIdentity::Certificate { .. }),
            comment: identity.comment().to_owned(),
        })
    }

    /// Gives the agent a key to keep.
    ///
    /// # Errors
    /// When it refuses or has gone.
    pub async fn add(&mut self, key: &PrivateKey) -> Result<(), AgentError> {
        Ok(self.client.add_identity(key, &[]).await?)
    }

    pub(super) async fn sign(
        &mut self,
        with: &AgentIdentity,
        hash: Option<HashAlg>,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, AgentError> {
        Ok(self.client.sign_request(with, hash, message).await?)
    }

    /// The agent's plain key if it has that, or else its certificate for the
    /// key.
    pub(super) fn holds(&self, public: &PublicKey) -> Option<&AgentIdentity> {
        let same = |held: &&AgentIdentity| held.public_key().key_data() == public.key_data();
        let is_plain = |held: &&AgentIdentity| matches!(held, AgentIdentity::PublicKey { .. });
        let mut all = self.identities.iter();
        let plain = all.clone().filter(same).find(is_plain);
        plain.or_else(|| all.find(same))
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}
