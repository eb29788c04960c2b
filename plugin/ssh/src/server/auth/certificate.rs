//! The check of an OpenSSH user certificate in itself (PROTOCOL.certkeys).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_certificate::{ACCOUNTS, NAMESPACE, SCOPES, read_list};
use alknet_handler::CertificateQuery;
use alknet_ssh_policy::{Restrictions, Scope, Sources};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::address::check_address;
use super::key::{check_algorithm, fingerprint};
use crate::server::metrics::AuthError;

/// An OpenSSH user certificate (`PROTOCOL.certkeys`) that is sound in itself.
/// Whether its authority is trusted, and for whom, the identity store decides.
#[derive(Clone, Debug)]
pub(crate) struct UserCertificate {
    pub(super) query: CertificateQuery,
    /// The authority's key.
    pub(super) authority: PublicKey,
    /// The restrictions it puts on the session.
    pub(super) restrictions: Restrictions,
    /// The addresses it may be used from, if it names any.
    pub(super) sources: Option<Sources>,
    /// The accounts it is limited to, if it is.
    pub(super) accounts: Option<Vec<String>>,
}

impl UserCertificate {
    /// Checks all that can be without knowing any authority. The dates count for
    /// this log-in and end no session later.
    pub(super) fn check(
        certificate: &Certificate,
        user: &str,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<Self, AuthError> {
        if certificate.cert_type() != CertType::User {
            return Err(AuthError::HostCertificate);
        }
        let authority = PublicKey::from(certificate.signature_key().clone());
        check_algorithm(&authority, &certificate.signature().algorithm())?;
        check_dates_and_signature(certificate, &authority, now)?;
        if certificate.valid_principals().is_empty() {
            return Err(AuthError::NoPrincipal);
        }
        let (force_command, sources) = critical_options(certificate.critical_options())?;
        let (scopes, accounts) = our_extensions(certificate.extensions())?;
        let permits = |name: &str| {
            let extension = certificate.extensions().get(name);
            extension.is_some_and(String::is_empty)
        };
        let checked = Self {
            query: CertificateQuery {
                ca_fingerprint: fingerprint(&authority),
                key_id: certificate.key_id().to_owned(),
                serial: certificate.serial(),
                principals: certificate.valid_principals().to_vec(),
                requested_user: user.to_owned(),
            },
            authority,
            restrictions: Restrictions {
                no_port_forwarding: !permits("permit-port-forwarding"),
                no_pty: !permits("permit-pty"),
                no_agent_forwarding: !permits("permit-agent-forwarding"),
                force_command,
                scopes,
            },
            sources,
            accounts,
        };
        check_address(checked.sources.as_ref(), peer)?;
        Ok(checked)
    }

    /// Whether it may be used from this address.
    pub(super) fn admits(&self, peer: Option<IpAddr>) -> bool {
        check_address(self.sources.as_ref(), peer).is_ok()
    }
}

/// Checks dates and signature. russh checks them too, but takes a time beyond
/// the clock's range for none.
fn check_dates_and_signature(
    certificate: &Certificate,
    authority: &PublicKey,
    now: SystemTime,
) -> Result<(), AuthError> {
    let now = now.duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| AuthError::CertificateEarly)?.as_secs();
    if now < certificate.valid_after() {
        return Err(AuthError::CertificateEarly);
    }
    if now >= certificate.valid_before() {
        return Err(AuthError::CertificateExpired);
    }
    certificate
        .validate_at(now, [&authority.fingerprint(HashAlg::Sha256)])
        .map_err(|_| AuthError::CertificateSignature)
}

/// Reads the critical options: the forced command, and the addresses it may be
/// used from. Any other critical option refuses the certificate.
fn critical_options(
    options: &BTreeMap<String, String>,
) -> Result<(Option<Vec<u8>>, Option<Sources>), AuthError> {
    let (mut force_command, mut sources) = (None, None);
    for (name, value) in options {
        match name.as_str() {
            "force-command" if !value.is_empty() => {
                force_command = Some(value.clone().into_bytes());
            }
            "source-address" => {
                let read = Sources::networks(value).map_err(|_| AuthError::CriticalOption)?;
                sources = Some(read);
            }
            _ => return Err(AuthError::CriticalOption),
        }
    }
    Ok((force_command, sources))
}

/// The scopes and the accounts that a certificate is limited to, where it is.
type Narrowing = (Option<Vec<String>>, Option<Vec<String>>);

/// The scopes and the accounts that our extensions limit the certificate to. Each
/// extension of our namespace narrows, so that one that is not understood
/// refuses the certificate.
fn our_extensions(extensions: &BTreeMap<String, String>) -> Result<Narrowing, AuthError> {
    let (mut scopes, mut accounts) = (None, None);
    for (name, value) in extensions {
        match name.as_str() {
            SCOPES => {
                let read = read_list(value);
                if read.iter().any(|scope| Scope::parse(scope).is_err()) {
                    return Err(AuthError::CertificateExtension);
                }
                scopes = Some(read);
            }
            ACCOUNTS => accounts = Some(read_list(value)),
            name if name.ends_with(NAMESPACE) => return Err(AuthError::CertificateExtension),
            _ => {}
        }
    }
    Ok((scopes, accounts))
}

/// The algorithm of a certified key: what russh calls it in an offer.
pub(super) fn is_for(certificate: &Certificate, key: &PublicKey, algorithm: &Algorithm) -> bool {
    certificate.public_key() == key.key_data()
        && match (certificate.algorithm(), algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (of_certificate, algorithm) => of_certificate == *algorithm,
        }
}
