//! What the peer of one SSH connection tries to log in with, and what comes of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use alknet_handler::IdentityProvider;
use russh::keys::{Algorithm, Certificate, PublicKey};

use super::accounts::Accounts;
use super::certificate::{self, UserCertificate};
use super::connection_identity::ConnectionIdentity;
use super::credential::{Credential, Holder};
use super::key::{check_algorithm, fingerprint};
use super::rules::LoginRules;
use crate::server::audit::SessionAudit;
use crate::server::display::{Peer, shown};
use crate::server::metrics::AuthError;
use crate::server::status::{Counters, count};

/// The time after which an identity store that has not answered counts as a
/// refusal.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What the peer of one SSH connection has tried so far.
pub(crate) struct Authenticator {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) max_tries: u32,
    pub(crate) max_offers: u32,
    pub(crate) owner: Arc<ConnectionIdentity>,
    accounts: Accounts,
    rules: Arc<RwLock<Arc<LoginRules>>>,
    recorder: Recorder,
    offers: u32,
    failures: u32,
    /// The known key that was offered last; it still has to prove itself with
    /// a signature.
    offered: Option<Offer>,
}

/// What is known about the peer before it logs in.
pub(crate) struct Claims {
    pub(crate) owner: Arc<ConnectionIdentity>,
    pub(crate) accounts: Accounts,
}

/// The log, counters and audit that take note of attempts.
pub(crate) struct Recorder {
    pub(crate) audit: SessionAudit,
    /// Whether one was refused.
    pub(crate) refused: Arc<AtomicBool>,
}

struct Offer {
    user: String,
    key: PublicKey,
    algorithm: Algorithm,
    /// The reason for which the key alone is not enough. It may belong to a
    /// certificate.
    alone: Option<AuthError>,
}

impl Authenticator {
    pub(crate) fn new(
        identities: Arc<dyn IdentityProvider>,
        counters: Arc<Counters>,
        peer: Option<SocketAddr>,
        limits: &alknet_ssh_config::Limits,
        claims: Claims,
        rules: Arc<RwLock<Arc<LoginRules>>>,
        recorder: Recorder,
    ) -> Self {
        Self {
            identities,
            counters,
            peer,
            max_tries: limits.max_auth_tries,
            max_offers: limits.max_key_offers,
            owner: claims.owner,
            accounts: claims.accounts,
            rules,
            recorder,
            offers: 0,
            failures: 0,
            offered: None,
        }
    }

    /// Whether the peer has used up what it may try.
    pub(crate) fn exhausted(&self) -> bool {
        self.failures >= self.max_tries || self.offers > self.max_offers
    }

    /// Judges a key that was offered and not yet proven. A certificate looks
    /// the same here, so where certificates are accepted a key that is not
    /// accepted by itself is still let go on to its signature.
    pub(crate) async fn offer(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> bool {
        self.close_open_offer();
        self.offers += 1;
        if self.offers > self.max_offers {
            self.log_refusal(user, Some(key), AuthError::TooManyOffers);
            return false;
        }
        let alone = match check_algorithm(key, algorithm) {
            Ok(()) => self.look_up(user, Credential::of_key(key)).await.err(),
            Err(refusal) => {
                self.log_refusal(user, Some(key), refusal);
                return false;
            }
        };
        match alone {
            Some(refusal) if !self.rules().certificates || !may_be_a_certificate(refusal) => {
                self.log_refusal(user, Some(key), refusal);
                false
            }
            alone => {
                self.offered = Some(Offer {
                    user: user.to_owned(),
                    key: key.clone(),
                    algorithm: algorithm.clone(),
                    alone,
                });
                true
            }
        }
    }

    /// Concludes with a key that has proven itself with a signature.
    pub(crate) async fn verified(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Option<Holder> {
        let was_offered = self.take_offer(user, key).is_some();
        // Asked anew: between the offer and the proof lies the time a person
        // takes to touch a key.
        let found = match check_algorithm(key, algorithm) {
            Ok(()) => self.look_up(user, Credential::of_key(key)).await,
            Err(refusal) => Err(refusal),
        };
        self.conclude(user, &fingerprint(key), None, found, was_offered)
    }

    /// Concludes with the key of this name that the TLS handshake has proven;
    /// the store is asked again who that is.
    pub(crate) async fn by_endpoint(&mut self, user: &str, name: &str) -> Option<Holder> {
        let found = match Credential::of_endpoint(name) {
            Some(credential) => self.look_up(user, credential).await,
            None => Err(AuthError::Algorithm),
        };
        self.conclude(user, name, None, found, false)
    }

    /// Concludes with a certificate that has proven itself with a signature of
    /// the key in it.
    pub(crate) async fn certified(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Option<Holder> {
        let key = PublicKey::from(certificate.public_key().clone());
        let offer = self.take_offer(user, &key);
        let was_offered = offer.is_some();
        let checked = match offer {
            _ if !self.rules().certificates => Err(AuthError::CertificatesOff),
            // What signed is known from the offer alone.
            Some(offer) if certificate::is_for(certificate, &key, &offer.algorithm) => {
                UserCertificate::check(certificate, user, self.peer_ip(), SystemTime::now())
            }
            _ => Err(AuthError::NoValidSignature),
        };
        let (certificate, found) = match checked {
            Ok(certificate) => {
                let certificate = Arc::new(certificate);
                let credential = Credential {
                    key: key.clone(),
                    certificate: Some(Arc::clone(&certificate)),
                    endpoint: None,
                };
                (Some(certificate), self.look_up(user, credential).await)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        let fingerprint = fingerprint(&key);
        self.conclude(
            user,
            &fingerprint,
            certificate.as_deref(),
            found,
            was_offered,
        )
    }

    fn take_offer(&mut self, user: &str, key: &PublicKey) -> Option<Offer> {
        let offer = self.offered.take();
        offer.filter(|offer| offer.user == user && offer.key.key_data() == key.key_data())
    }

    fn conclude(
        &mut self,
        user: &str,
        fingerprint: &str,
        certificate: Option<&UserCertificate>,
        found: Result<Holder, AuthError>,
        was_offered: bool,
    ) -> Option<Holder> {
        let owned = found.and_then(|holder| {
            let owned = self.owner.claim(&holder.identity);
            owned.then_some(holder).ok_or(AuthError::OtherIdentity)
        });
        match owned {
            Ok(holder) => {
                count(&self.counters.auth_accepted);
                match &holder.credential.endpoint {
                    Some(_) => self.counters.metrics.accepted_by_endpoint(),
                    None => self.counters.metrics.accepted(),
                }
                let identity = holder.identity.id.as_str();
                self.recorder.audit.identity(identity);
                self.record(user, fingerprint, certificate, Ok(identity));
                Some(holder)
            }
            Err(refusal) => {
                if !(was_offered && refusal.is_only_an_offer()) {
                    self.failures += 1;
                }
                self.log(user, fingerprint, certificate, refusal);
                None
            }
        }
    }

    /// Refuses an attempt with another method than public keys.
    pub(crate) fn refuse(&mut self, user: &str, refusal: AuthError) {
        self.offered = None;
        self.failures += 1;
        self.log_refusal(user, None, refusal);
    }

    /// Counts a known key that was offered and did not prove itself before the
    /// next attempt, or at all, as refused: russh checks signatures by itself
    /// and reports only good ones.
    pub(crate) fn close_open_offer(&mut self) {
        if let Some(offer) = self.offered.take() {
            let refusal = offer.alone.unwrap_or(AuthError::NoValidSignature);
            if offer.alone.is_none() {
                self.failures += 1;
            }
            self.log(&offer.user, &fingerprint(&offer.key), None, refusal);
        }
    }

    async fn look_up(&self, user: &str, credential: Credential) -> Result<Holder, AuthError> {
        credential.check(&self.rules())?;
        let unknown = match credential.certificate {
            Some(_) => AuthError::UnknownCertificate,
            None => AuthError::UnknownKey,
        };
        let answer = tokio::time::timeout(LOOK_UP, credential.resolve(self.identities.as_ref()));
        let identity = match answer.await {
            Ok(Ok(Some(identity))) => identity,
            Ok(Ok(None)) => return Err(unknown),
            Ok(Err(error)) => {
                tracing::error!(target: "alknet_ssh::auth", %error, "an identity look-up failed");
                count(&self.counters.auth_errors);
                return Err(AuthError::StoreFailed);
            }
            Err(_) => {
                tracing::error!(target: "alknet_ssh::auth", "an identity look-up took more than {LOOK_UP:?}");
                count(&self.counters.auth_errors);
                return Err(AuthError::StoreFailed);
            }
        };
        if !self.owner.admits(&identity) {
            return Err(AuthError::OtherIdentity);
        }
        let now = SystemTime::now();
        Holder::new(
            credential,
            identity,
            user,
            self.peer_ip(),
            &self.accounts,
            now,
        )
    }

    fn rules(&self) -> Arc<LoginRules> {
        let rules = self.rules.read();
        Arc::clone(&rules.unwrap_or_else(PoisonError::into_inner))
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }

    fn log_refusal(&self, user: &str, key: Option<&PublicKey>, refusal: AuthError) {
        let fingerprint = key.map(fingerprint).unwrap_or_default();
        self.log(user, &fingerprint, None, refusal);
    }

    fn log(
        &self,
        user: &str,
        fingerprint: &str,
        certificate: Option<&UserCertificate>,
        refusal: AuthError,
    ) {
        count(&self.counters.auth_refused);
        self.counters.metrics.refused(refusal);
        self.recorder.refused.store(true, Ordering::Relaxed);
        self.record(user, fingerprint, certificate, Err(refusal));
    }

    /// Writes the attempt to the log and the audit stream: whose it was, or why
    /// it was refused.
    fn record(
        &self,
        user: &str,
        fingerprint: &str,
        certificate: Option<&UserCertificate>,
        outcome: Result<&str, AuthError>,
    ) {
        self.recorder.audit.auth(user, fingerprint, outcome.err());
        let certificate = certificate.map(|certificate| &certificate.query);
        tracing::info!(
            target: "alknet_ssh::auth",
            remote_addr = %Peer(self.peer),
            user = shown(user),
            key_fingerprint = %fingerprint,
            certificate_id = certificate.map(|query| shown(&query.key_id)),
            certificate_serial = certificate.map(|query| query.serial),
            ca_fingerprint = certificate.map(|query| query.ca_fingerprint.as_str()),
            identity = outcome.ok().map(tracing::field::display),
            result = if outcome.is_ok() { "accepted" } else { "refused" },
            reason = outcome.err().map(tracing::field::display),
            "auth attempt"
        );
    }
}

/// Refusals of a key that do not hold for a certificate with that key in it.
fn may_be_a_certificate(refusal: AuthError) -> bool {
    matches!(
        refusal,
        AuthError::UnknownKey
            | AuthError::OtherIdentity
            | AuthError::Address
            | AuthError::NoAddress
            | AuthError::Expired
            | AuthError::Account
    )
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        self.close_open_offer();
    }
}
