//! Which keys a client offers, in which order, and who signs with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use tokio::time::timeout;

use super::handler::ClientHandler;
use super::tried::{Tried, TriedOutcome};
use super::{Agent, AskPassphrase, ClientError, KeyFile, KeyFileError, fingerprint};

/// The keys and certificates that a user can log in with.
#[derive(Debug, Default)]
pub struct Identities {
    /// Keys in files, in the order to try them.
    pub files: Vec<KeyFile>,
    /// Files that were named and cannot be used, with the reason; the error
    /// names them when no other key is accepted.
    pub unusable: Vec<(PathBuf, KeyFileError)>,
    /// The socket of an agent (`SSH_AUTH_SOCK`), whose keys are tried as well.
    pub agent: Option<PathBuf>,
    /// Whether to try the files before the agent's other keys, as for keys that
    /// the user named. Otherwise the agent's come first.
    pub files_first: bool,
    /// Whether to offer no other keys than those in the files; the agent may
    /// sign for them.
    pub only_files: bool,
    /// The stream below has shown already who we are, as the key of a QUIC
    /// handshake does: the server may let us in without another.
    pub has_tls_identity: bool,
}

/// Tries one key after the other.
pub(super) async fn run(
    handle: &mut Handle<ClientHandler>,
    user: &str,
    identities: &mut Identities,
    ask: &dyn AskPassphrase,
    time_limit: Duration,
) -> Result<(), ClientError> {
    if identities.has_tls_identity {
        let login = timeout(time_limit, handle.authenticate_none(user)).await;
        if login.map_err(|_| ClientError::Timeout("authentication"))?? == AuthResult::Success {
            return Ok(());
        }
    }
    let mut tried: Vec<Tried> = Vec::new();
    let mut agent = match identities.agent.as_deref() {
        Some(socket) => reach(socket, &mut tried).await,
        None => None,
    };
    let offers = offers(identities, agent.as_ref());
    let mut rsa_hash = None;
    for offer in offers {
        let public = match &offer.public {
            Some(public) => public.clone(),
            // An old format, which shows nothing before it is unlocked.
            None => match unlock(identities, &offer, ask).await {
                Ok(key) => key.public_key().clone(),
                Err(error) => {
                    tried.push(offer.became(TriedOutcome::Unusable(error)));
                    continue;
                }
            },
        };
        let hash = match public.algorithm() {
            Algorithm::Rsa { .. } if rsa_hash.is_none() => {
                // The strongest SHA-2 the server takes; never SHA-1.
                let best = handle.best_supported_rsa_hash().await?.flatten();
                rsa_hash = Some(best.unwrap_or(HashAlg::Sha512));
                rsa_hash
            }
            Algorithm::Rsa { .. } => rsa_hash,
            _ => None,
        };
        let may_ask = offer.may_ask(identities);
        let mut signer = Signer {
            identities,
            offer: &offer,
            agent: &mut agent,
            ask,
        };
        let login = async {
            match offer.certificate.clone() {
                Some(certificate) => {
                    handle
                        .authenticate_certificate_with(user, certificate, hash, &mut signer)
                        .await
                }
                None => {
                    handle
                        .authenticate_publickey_with(user, public, hash, &mut signer)
                        .await
                }
            }
        };
        // The user may take longer over a passphrase than the network may.
        let outcome = if may_ask {
            login.await
        } else {
            let ended = timeout(time_limit, login).await;
            ended.map_err(|_| ClientError::Timeout("authentication"))?
        };
        match outcome {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) if remaining_methods.is_empty() => {
                tried.push(offer.became(TriedOutcome::Refused));
                return Err(ClientError::LoginCutOff { tried });
            }
            Ok(AuthResult::Failure {
                partial_success, ..
            }) => tried.push(offer.became(if partial_success {
                TriedOutcome::NotEnough
            } else {
                TriedOutcome::Refused
            })),
            Err(SigningFault::Gone) => return Err(ClientError::LoginCutOff { tried }),
            Err(SigningFault::KeyFile(error)) => {
                tried.push(offer.became(TriedOutcome::Unusable(error)));
            }
            Err(SigningFault::Agent(error)) => {
                tried.push(offer.became(TriedOutcome::AgentFailed(error)));
            }
        }
    }
    for (path, error) in identities.unusable.drain(..) {
        tried.push(Tried {
            name: path.display().to_string(),
            key: String::new(),
            outcome: TriedOutcome::Unusable(error),
        });
    }
    Err(ClientError::NoKeyAccepted {
        user: user.to_owned(),
        tried,
    })
}

/// A key to be offered, and who can sign with it.
struct Offer {
    name: String,
    /// The public key; `None` for encrypted files of old formats, which hide
    /// it.
    public: Option<PublicKey>,
    certificate: Option<Certificate>,
    by: By,
}

enum By {
    File(usize),
    Agent(Box<AgentIdentity>),
}

impl Offer {
    fn became(&self, outcome: TriedOutcome) -> Tried {
        let key = self.public.as_ref().map(|key| {
            let kind = if self.certificate.is_some() {
                " certificate"
            } else {
                ""
            };
            format!("{}{kind} {}", key.algorithm(), fingerprint(key))
        });
        Tried {
            name: self.name.clone(),
            key: key.unwrap_or_default(),
            outcome,
        }
    }

    /// Whether the signature may have to wait for somebody: for a passphrase,
    /// or for an agent that asks or wants a touch.
    fn may_ask(&self, identities: &Identities) -> bool {
        match self.by {
            By::File(index) => identities
                .files
                .get(index)
                .is_some_and(KeyFile::is_encrypted),
            By::Agent(_) => true,
        }
    }

    fn is(&self, public: &PublicKey, certificate: Option<&Certificate>) -> bool {
        let same_key = |own: &PublicKey| own.key_data() == public.key_data();
        self.public.as_ref().is_some_and(same_key) && self.certificate.as_ref() == certificate
    }
}

fn offers(identities: &Identities, agent: Option<&Agent>) -> Vec<Offer> {
    let mut from_files = Vec::new();
    for (index, file) in identities.files.iter().enumerate() {
        let held = file.public_key().and_then(|public| agent?.holds(public));
        let by = || match held {
            Some(held) => By::Agent(Box::new(held.clone())),
            None => By::File(index),
        };
        for certificate in file
            .certificate()
            .into_iter()
            .cloned()
            .map(Some)
            .chain([None])
        {
            from_files.push(Offer {
                name: file.path().display().to_string(),
                public: file.public_key().cloned(),
                certificate,
                by: by(),
            });
        }
    }
    let others = agent.filter(|_| !identities.only_files);
    let held = others.map(|agent| agent.identities.as_slice());
    let from_agent = held.unwrap_or_default().iter().map(|identity| {
        let certificate = match identity {
            AgentIdentity::Certificate { certificate, .. } => Some(certificate.clone()),
            AgentIdentity::PublicKey { .. } => None,
        };
        Offer {
            name: format!("agent, {:?}", identity.comment()),
            public: Some(identity.public_key().into_owned()),
            certificate,
            by: By::Agent(Box::new(identity.clone())),
        }
    });
    let (first, then): (Vec<_>, Vec<_>) = if identities.files_first {
        (from_files, from_agent.collect())
    } else {
        (from_agent.collect(), from_files)
    };
    let mut offers: Vec<Offer> = Vec::new();
    for offer in first.into_iter().chain(then) {
        let known = offer.public.as_ref().is_some_and(|public| {
            let certificate = offer.certificate.as_ref();
            offers.iter().any(|known| known.is(public, certificate))
        });
        if !known {
            offers.push(offer);
        }
    }
    offers
}

async fn unlock(
    identities: &mut Identities,
    offer: &Offer,
    ask: &dyn AskPassphrase,
) -> Result<std::sync::Arc<PrivateKey>, KeyFileError> {
    match offer.by {
        By::File(index) => match identities.files.get_mut(index) {
            Some(file) => file.unlock(ask).await,
            None => Err(KeyFileError::PublicOnly),
        },
        By::Agent(_) => Err(KeyFileError::PublicOnly),
    }
}

/// Connects to the agent. One that cannot be reached is noted in `tried`.
async fn reach(socket: &Path, tried: &mut Vec<Tried>) -> Option<Agent> {
    match Agent::connect(socket).await {
        Ok(agent) => Some(agent),
        Err(error) => {
            tried.push(Tried {
                name: format!("agent at {}", socket.display()),
                key: String::new(),
                outcome: TriedOutcome::AgentFailed(error.to_string()),
            });
            None
        }
    }
}

/// Signs for the key on offer, once the server has accepted it.
struct Signer<'a> {
    identities: &'a mut Identities,
    offer: &'a Offer,
    agent: &'a mut Option<Agent>,
    ask: &'a dyn AskPassphrase,
}

enum SigningFault {
    Gone,
    KeyFile(KeyFileError),
    Agent(String),
}

impl From<russh::SendError> for SigningFault {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

impl russh::Signer for Signer<'_> {
    type Error = SigningFault;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SigningFault> {
        if let By::Agent(held) = &self.offer.by {
            let Some(agent) = &mut self.agent else {
                return Err(SigningFault::Agent("it is gone".to_owned()));
            };
            return agent
                .sign(held, hash, to_sign)
                .await
                .map_err(|error| SigningFault::Agent(error.to_string()));
        }
        let key = unlock(self.identities, self.offer, self.ask)
            .await
            .map_err(SigningFault::KeyFile)?;
        let signature = sign(&key, hash, &to_sign)
            .map_err(|_| SigningFault::KeyFile(KeyFileError::NotUnderstood))?;
        to_sign.extend_from_slice(&signature);
        Ok(to_sign)
    }
}

/// Signs the data; the signature is a string of SSH (RFC 4253 section 6.6).
fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    message: &[u8],
) -> Result<Vec<u8>, russh::keys::ssh_key::Error> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(message)?,
        pair => pair.try_sign(message)?,
    };
    let mut blob = Vec::new();
    signature.encode(&mut blob)?;
    let mut text = Vec::new();
    blob.encode(&mut text)?;
    Ok(text)
}
