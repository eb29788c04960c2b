//! Decisions about one SSH connection's authentication attempts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alknet_handler::{Identity, IdentityProvider};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::host_key::{MIN_RSA_BITS, rsa_bits};
use crate::status::{Counters, count};

/// An identity store that has not answered by then refuses.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Why an attempt to authenticate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("unknown key")]
    UnknownKey,
    #[error("the key's signature is missing or wrong")]
    NoValidSignature,
    #[error("ssh-rsa signs with SHA-1; use rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    #[error("the RSA key has fewer than 2048 bits")]
    WeakRsa,
    #[error("security keys (sk-*) are not supported yet")]
    SecurityKey,
    #[error("certificates are not supported yet")]
    Certificate,
    #[error("the key's algorithm is not supported")]
    Algorithm,
    #[error("only public keys are accepted")]
    Method,
    #[error("the key belongs to another identity than the connection")]
    OtherIdentity,
    #[error("too many keys were offered")]
    TooManyOffers,
    #[error("the identity store could not answer")]
    StoreFailed,
}

/// What the peer of one SSH connection has tried so far.
pub(crate) struct Authenticator {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) max_tries: u32,
    pub(crate) max_offers: u32,
    pub(crate) owner: Arc<Owner>,
    offers: u32,
    failures: u32,
    /// The known key that was offered last; it still has to prove itself with
    /// a signature.
    offered: Option<Offer>,
}

struct Offer {
    user: String,
    fingerprint: String,
}

/// Whose a connection is. The endpoint found it from the peer's TLS key, or
/// the first SSH connection on it did; from then on a key of somebody else is
/// refused, so that one connection is never two people with the scopes of
/// both.
#[derive(Debug, Default)]
pub(crate) struct Owner(Mutex<Option<String>>);

impl Owner {
    pub(crate) fn new(identity: Option<&Identity>) -> Self {
        Self(Mutex::new(identity.map(|identity| identity.id.clone())))
    }

    fn admits(&self, identity: &Identity) -> bool {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.as_ref().is_none_or(|owner| *owner == identity.id)
    }

    fn claim(&self, identity: &Identity) -> bool {
        let mut owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *owner.get_or_insert_with(|| identity.id.clone()) == identity.id
    }

    pub(crate) fn is_known(&self) -> bool {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.is_some()
    }
}

impl Authenticator {
    pub(crate) fn new(
        identities: Arc<dyn IdentityProvider>,
        counters: Arc<Counters>,
        peer: Option<SocketAddr>,
        limits: &alknet_ssh_config::Limits,
        owner: Arc<Owner>,
    ) -> Self {
        Self {
            identities,
            counters,
            peer,
            max_tries: limits.max_auth_tries,
            max_offers: limits.max_key_offers,
            owner,
            offers: 0,
            failures: 0,
            offered: None,
        }
    }

    /// Whether the peer has used up what it may try.
    pub(crate) fn exhausted(&self) -> bool {
        self.failures >= self.max_tries || self.offers > self.max_offers
    }

    /// A key was named, not yet proven.
    pub(crate) async fn offer(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> bool {
        self.close_open_offer();
        self.offers += 1;
        if self.offers > self.max_offers {
            self.log_refusal(user, Some(key), Refusal::TooManyOffers);
            return false;
        }
        match self.look_up(key, algorithm).await {
            Ok(_) => {
                self.offered = Some(Offer {
                    user: user.to_owned(),
                    fingerprint: fingerprint(key),
                });
                true
            }
            Err(refusal) => {
                self.log_refusal(user, Some(key), refusal);
                false
            }
        }
    }

    /// A key has proven itself with a signature.
    pub(crate) async fn verified(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Option<Identity> {
        let fingerprint = fingerprint(key);
        self.offered = None;
        // Asked anew: between the offer and the proof lies the time a person
        // takes to touch a key.
        let known = self.look_up(key, algorithm).await;
        let owned = known.and_then(|identity| {
            let owned = self.owner.claim(&identity);
            owned.then_some(identity).ok_or(Refusal::OtherIdentity)
        });
        match owned {
            Ok(identity) => {
                count(&self.counters.auth_accepted);
                self.counters.metrics.accepted();
                tracing::info!(
                    target: "alknet_ssh::auth",
                    remote_addr = %Peer(self.peer),
                    user,
                    key_fingerprint = %fingerprint,
                    identity = %identity.id,
                    result = "accepted",
                    "auth attempt"
                );
                Some(identity)
            }
            Err(refusal) => {
                self.failures += 1;
                self.log_refusal(user, Some(key), refusal);
                None
            }
        }
    }

    /// An attempt that public keys have no part in, or that failed after a
    /// signature.
    pub(crate) fn refuse(&mut self, user: &str, key: Option<&PublicKey>, refusal: Refusal) {
        self.offered = None;
        self.failures += 1;
        self.log_refusal(user, key, refusal);
    }

    /// A known key that was offered and did not prove itself before the next
    /// attempt, or at all: russh checks signatures by itself and reports only
    /// good ones.
    pub(crate) fn close_open_offer(&mut self) {
        if let Some(offer) = self.offered.take() {
            self.failures += 1;
            self.log(&offer.user, &offer.fingerprint, Refusal::NoValidSignature);
        }
    }

    async fn look_up(&self, key: &PublicKey, algorithm: &Algorithm) -> Result<Identity, Refusal> {
        check_algorithm(key, algorithm)?;
        let fingerprint = fingerprint(key);
        let answer = tokio::time::timeout(
            LOOK_UP,
            self.identities.resolve_from_fingerprint(&fingerprint),
        );
        let identity = match answer.await {
            Ok(Ok(Some(identity))) => identity,
            Ok(Ok(None)) => return Err(Refusal::UnknownKey),
            Ok(Err(error)) => {
                tracing::error!(%error, "an identity look-up failed");
                count(&self.counters.auth_errors);
                return Err(Refusal::StoreFailed);
            }
            Err(_) => {
                tracing::error!("an identity look-up took more than {LOOK_UP:?}");
                count(&self.counters.auth_errors);
                return Err(Refusal::StoreFailed);
            }
        };
        if self.owner.admits(&identity) {
            Ok(identity)
        } else {
            Err(Refusal::OtherIdentity)
        }
    }

    fn log_refusal(&self, user: &str, key: Option<&PublicKey>, refusal: Refusal) {
        let fingerprint = key.map(fingerprint).unwrap_or_default();
        self.log(user, &fingerprint, refusal);
    }

    fn log(&self, user: &str, fingerprint: &str, refusal: Refusal) {
        count(&self.counters.auth_refused);
        self.counters.metrics.refused(refusal);
        tracing::info!(
            target: "alknet_ssh::auth",
            remote_addr = %Peer(self.peer),
            user,
            key_fingerprint = %fingerprint,
            result = "refused",
            reason = %refusal,
            "auth attempt"
        );
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        self.close_open_offer();
    }
}

fn check_algorithm(key: &PublicKey, algorithm: &Algorithm) -> Result<(), Refusal> {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(()),
        Algorithm::Rsa { hash: None } => Err(Refusal::Sha1),
        Algorithm::Rsa { hash: Some(_) } => match rsa_bits(key) {
            Some(bits) if bits >= MIN_RSA_BITS => Ok(()),
            _ => Err(Refusal::WeakRsa),
        },
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(Refusal::SecurityKey),
        _ => Err(Refusal::Algorithm),
    }
}

/// `SHA256:<base64>`, as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A peer's address in a log line.
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}
