//! A certificate for a key of the user's, checked before it is used, and its place in
//! an ssh-agent (draft-miller-ssh-agent).

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Certificate, PrivateKey, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Agent, AgentError};

/// Requests to an agent, and its answer to them when all went well.
const REMOVE_IDENTITY: u8 = 18;
const ADD_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;
const SUCCESS: u8 = 6;

/// The time that an agent may take.
const AGENT_TIMEOUT: Duration = Duration::from_secs(10);

/// A user certificate that fits its key.
#[derive(Clone, Debug)]
pub struct LoginCertificate(Certificate);

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
pub enum LoginCertificateError {
    /// It cannot be read.
    #[error("the node sent something that is not a certificate")]
    NotUnderstood,
    /// It is of another key, of another authority, for hosts, or damaged.
    #[error("the node sent a certificate that does not fit: {0}")]
    Unfitting(&'static str),
    /// It is not valid by this machine's clock.
    #[error(
        "the certificate is {0} by this machine's clock: compare this clock with the node's (date)"
    )]
    Clock(&'static str),
}

impl LoginCertificate {
    /// Reads the line of a `-cert.pub` file, for this key and by this authority.
    ///
    /// # Errors
    /// When it could not be used to log in.
    pub fn read(
        line: &str,
        key: &PublicKey,
        authority: &PublicKey,
    ) -> Result<Self, LoginCertificateError> {
        use LoginCertificateError::{Clock, NotUnderstood, Unfitting};

        let certificate = Certificate::from_openssh(line.trim()).map_err(|_| NotUnderstood)?;
        let fault = if certificate.public_key() != key.key_data() {
            Some("it is of another key")
        } else if certificate.signature_key() != authority.key_data() {
            Some("it is of another authority")
        } else if certificate.cert_type() != CertType::User {
            Some("it is for hosts")
        } else if certificate.verify_signature().is_err() {
            Some("its signature is wrong")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(Unfitting(fault));
        }
        let now = now();
        if now < certificate.valid_after() {
            return Err(Clock("not valid yet"));
        }
        if now >= certificate.valid_before() {
            return Err(Clock("over already"));
        }
        Ok(Self(certificate))
    }

    /// Its serial number.
    pub fn serial(&self) -> u64 {
        self.0.serial()
    }

    /// The names it is valid for.
    pub fn principals(&self) -> &[String] {
        self.0.valid_principals()
    }

    /// How much longer it is valid.
    pub fn left(&self) -> Duration {
        Duration::from_secs(self.0.valid_before().saturating_sub(now()))
    }

    /// The line of a `-cert.pub` file.
    ///
    /// # Errors
    /// When it cannot be written, which one that was read can.
    pub fn line(&self) -> io::Result<String> {
        self.0.to_openssh().map_err(io::Error::other)
    }

    /// Has the agent at `socket` keep it with its key for as long as it is valid, in
    /// the place of the certificates with the same comment. The key has to be an
    /// Ed25519 key without a passphrase.
    ///
    /// # Errors
    /// When the agent refuses, is silent or has gone.
    pub async fn keep_in(
        &self,
        socket: &Path,
        key: &PrivateKey,
        comment: &str,
    ) -> Result<(), AgentError> {
        let refused = || AgentError::Failed(russh::keys::Error::AgentFailure);
        let KeypairData::Ed25519(pair) = key.key_data() else {
            return Err(refused());
        };
        let before = Agent::connect(socket).await?;
        let lifetime = u32::try_from(self.left().as_secs()).unwrap_or(u32::MAX);
        let added = self.addition(pair, comment, lifetime.max(1));
        let added = added.map_err(|_| refused())?;
        request(socket, &added).await?;
        for held in &before.identities {
            if let AgentIdentity::Certificate { certificate, .. } = held
                && held.comment() == comment
                && *certificate != self.0
                && let Ok(blob) = certificate.to_bytes()
            {
                let mut message = vec![REMOVE_IDENTITY];
                put(&mut message, &blob);
                // One that has gone by itself is no loss.
                let _ = request(socket, &message).await;
            }
        }
        Ok(())
    }

    fn addition(
        &self,
        pair: &Ed25519Keypair,
        comment: &str,
        lifetime: u32,
    ) -> Result<Zeroizing<Vec<u8>>, russh::keys::ssh_key::Error> {
        // Room for all of it at once: growing would leave copies behind.
        let mut message = Zeroizing::new(Vec::with_capacity(16 * 1024));
        message.push(ADD_CONSTRAINED);
        put(&mut message, b"ssh-ed25519-cert-v01@openssh.com");
        put(&mut message, &self.0.to_bytes()?);
        put(&mut message, pair.public.as_ref());
        let both = Zeroizing::new(pair.to_bytes());
        put(&mut message, both.as_slice());
        put(&mut message, comment.as_bytes());
        message.push(CONSTRAIN_LIFETIME);
        lifetime.encode(&mut *message)?;
        Ok(message)
    }
}

/// A fresh Ed25519 key.
///
/// # Errors
/// When the system gives no random bytes.
pub fn fresh_key(comment: &str) -> io::Result<PrivateKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| io::Error::other(error.to_string()))?;
    let pair = Ed25519Keypair::from_seed(&seed);
    PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(io::Error::other)
}

/// One request to an agent, which it has to grant.
async fn request(socket: &Path, message: &[u8]) -> Result<(), AgentError> {
    let failed = |error: io::Error| AgentError::Failed(russh::keys::Error::IO(error));
    let asking = async {
        let mut agent = UnixStream::connect(socket).await?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        agent.write_all(&length.to_be_bytes()).await?;
        agent.write_all(message).await?;
        let length = agent.read_u32().await?;
        let answer = agent.read_u8().await?;
        Ok(length == 1 && answer == SUCCESS)
    };
    match timeout(AGENT_TIMEOUT, asking).await {
        Err(_) => Err(AgentError::Silent),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(false)) => Err(AgentError::Failed(russh::keys::Error::AgentFailure)),
        Ok(Ok(true)) => Ok(()),
    }
}

/// Appends a string (RFC 4251, section 5).
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
