//! What a peer has proven, and the identity and terms that follow from it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use alknet_handler::{Identity, IdentityError, IdentityProvider};
use alknet_ssh_policy::{Conditions, Restrictions, Subject};
use russh::keys::PublicKey;
use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData};

use super::accounts::Accounts;
use super::address::check_address;
use super::certificate::UserCertificate;
use super::key::fingerprint;
use super::rules::LoginRules;
use crate::server::metrics::AuthError;

/// The key or certificate that a peer proved itself with: enough to ask again
/// later who it is.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(super) key: PublicKey,
    pub(super) certificate: Option<Arc<UserCertificate>>,
    /// The name the store has for the key, where that was shown in the
    /// handshake below SSH.
    pub(super) endpoint: Option<Arc<str>>,
}

/// The identity of a peer, what it proved that with, and its terms.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) credential: Credential,
    pub(crate) identity: Identity,
    /// The user name it gave.
    pub(crate) user: String,
    /// The account that the user name stands for, where peers have accounts.
    pub(crate) account: Option<String>,
    /// The time from which it is no longer let in.
    pub(crate) expires: Option<SystemTime>,
    /// The restrictions of certificate and identity.
    pub(crate) restrictions: Restrictions,
    /// Variables that are set for all its commands.
    pub(crate) environment: Vec<(String, String)>,
}

impl Credential {
    pub(super) fn of_key(key: &PublicKey) -> Self {
        Self {
            key: key.clone(),
            certificate: None,
            endpoint: None,
        }
    }

    /// The key that was shown in the handshake below SSH: `ed25519:` and 64
    /// hex digits.
    pub(super) fn of_endpoint(name: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let mut digits = name.strip_prefix("ed25519:")?.chars();
        for byte in &mut bytes {
            let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        let key = KeyData::Ed25519(Ed25519PublicKey(bytes));
        digits.next().is_none().then(|| Self {
            key: PublicKey::from(key),
            certificate: None,
            endpoint: Some(name.into()),
        })
    }

    /// The fingerprint of the key, also of a certified one; for a key of the
    /// handshake below SSH its name.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.endpoint {
            Some(name) => name.to_string(),
            None => fingerprint(&self.key),
        }
    }

    /// Asks the identity store who has proven this.
    pub(crate) async fn resolve(
        &self,
        identities: &dyn IdentityProvider,
    ) -> Result<Option<Identity>, IdentityError> {
        match &self.certificate {
            Some(certificate) => {
                identities
                    .resolve_from_certificate(&certificate.query)
                    .await
            }
            None => {
                identities
                    .resolve_from_fingerprint(&self.fingerprint())
                    .await
            }
        }
    }

    /// Whether it may be used from this address.
    pub(crate) fn admits(&self, peer: Option<IpAddr>) -> bool {
        let certificate = self.certificate.as_ref();
        certificate.is_none_or(|certificate| certificate.admits(peer))
    }

    /// Checks it against the rules in force, whoever it belongs to.
    pub(crate) fn check(&self, rules: &LoginRules) -> Result<(), AuthError> {
        let revoked = &rules.revoked;
        let revoked = match &self.certificate {
            Some(_) if !rules.certificates => return Err(AuthError::CertificatesOff),
            Some(certificate) => {
                let query = &certificate.query;
                revoked.holds_key(&self.key)
                    || revoked.holds_key(&certificate.authority)
                    || revoked.holds_certificate(
                        &certificate.authority,
                        query.serial,
                        &query.key_id,
                    )
            }
            None => revoked.holds_key(&self.key),
        };
        if revoked {
            Err(AuthError::Revoked)
        } else {
            Ok(())
        }
    }
}

impl Holder {
    /// The terms under which an identity is let in: what its resources ask of
    /// the log-in holds at this time, and what its certificate and they
    /// withhold is added up.
    pub(crate) fn new(
        credential: Credential,
        identity: Identity,
        user: &str,
        peer: Option<IpAddr>,
        accounts: &Accounts,
        now: SystemTime,
    ) -> Result<Self, AuthError> {
        let account = accounts.choose(&identity, user)?;
        let certified = credential.certificate.as_deref();
        if let (Some(account), Some(certified)) = (
            &account,
            certified.and_then(|known| known.accounts.as_ref()),
        ) && !certified.contains(account)
        {
            return Err(AuthError::CertificateAccount);
        }
        let conditions =
            Conditions::read(&identity.resources).map_err(|_| AuthError::Conditions)?;
        check_address(conditions.from.as_ref(), peer)?;
        if conditions.expires.is_some_and(|expires| now >= expires) {
            return Err(AuthError::Expired);
        }
        let mut restrictions = conditions.restrictions();
        if let Some(certificate) = &credential.certificate {
            restrictions = both(&restrictions, &certificate.restrictions)?;
        }
        Ok(Self {
            credential,
            identity,
            user: user.to_owned(),
            account,
            expires: conditions.expires,
            restrictions,
            environment: conditions.environment,
        })
    }

    /// The subject that the policy is asked about.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            id: &self.identity.id,
            scopes: &self.identity.scopes,
            restrictions: &self.restrictions,
        }
    }
}

/// The restrictions of both. Two forced commands are refused unless they are
/// the same.
pub(super) fn both(one: &Restrictions, other: &Restrictions) -> Result<Restrictions, AuthError> {
    let force_command = match (&one.force_command, &other.force_command) {
        (Some(one), Some(other)) if one != other => return Err(AuthError::TwoCommands),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    let scopes = match (&one.scopes, &other.scopes) {
        // Only a certificate is limited to scopes.
        (scopes, None) | (None, scopes) => scopes.clone(),
        (Some(one), Some(other)) => {
            let common = one.iter().filter(|scope| other.contains(scope));
            Some(common.cloned().collect())
        }
    };
    Ok(Restrictions {
        no_port_forwarding: one.no_port_forwarding || other.no_port_forwarding,
        no_pty: one.no_pty || other.no_pty,
        no_agent_forwarding: one.no_agent_forwarding || other.no_agent_forwarding,
        force_command,
        scopes,
    })
}
