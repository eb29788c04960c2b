//! The check of a server's host key or certificate against a pinned key and
//! files of known hosts.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::known_hosts::{Entry, KnownHosts, Marker, matches};
use super::{FileLine, HostName, KnownHostsError};

/// The host keys and authorities by which a server is recognised.
///
/// A key that a file of known hosts revokes is never accepted. Then a pinned
/// key decides, if there is one; otherwise what the files say of the host.
#[derive(Clone, Debug)]
pub struct HostTrust {
    name: HostName,
    pinned: Option<PublicKey>,
    known: KnownHosts,
}

/// Why a server is not taken for the right one.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// Nothing is known of the host.
    #[error("the SSH host key of {name} is not known: {} {}", key.algorithm(), fingerprint(key))]
    Unknown {
        /// The host.
        name: HostName,
        /// The key it proved to hold.
        key: Box<PublicKey>,
    },
    /// The host is known by another key.
    #[error(
        "\
refused to connect
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@  WARNING: THE SSH HOST KEY OF {name} HAS CHANGED!
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Either the host was set up again, or someone else is answering in its place.
  expected:  {} {} ({place})
  presented: {} {}
Ask whoever runs the host for its key. If the new one is right, remove line
{line} of {path} and connect again.",
        expected.algorithm(), fingerprint(expected),
        presented.algorithm(), fingerprint(presented),
        line = place.line, path = place.path.display(),
    )]
    Changed {
        /// The host.
        name: HostName,
        /// The key it is known by.
        expected: Box<PublicKey>,
        /// The file and line of that key.
        place: FileLine,
        /// The key it proved to hold.
        presented: Box<PublicKey>,
    },
    /// The host is to hold one certain key, and holds another.
    #[error(
        "\
refused to connect
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@  WARNING: {name} HAS ANOTHER SSH HOST KEY THAN YOU GAVE!
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
  expected:  {} {}
  presented: {} {}
Ask whoever runs the host for its key (`alknet-node status` prints it there)
and correct the one you gave, if that is wrong.",
        expected.algorithm(), fingerprint(expected),
        presented.algorithm(), fingerprint(presented),
    )]
    NotPinned {
        /// The host.
        name: HostName,
        /// The key it is to hold.
        expected: Box<PublicKey>,
        /// The key it proved to hold.
        presented: Box<PublicKey>,
    },
    /// The host's key, or the authority that signed it, is marked as revoked.
    #[error(
        "\
refused to connect
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@  WARNING: THE SSH HOST KEY OF {name} IS REVOKED!
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Whoever holds it may be someone else than the host.
  presented: {} {}
  revoked:   {place}
Ask whoever runs the host for a new key. Do not remove that line.",
        key.algorithm(), fingerprint(key),
    )]
    Revoked {
        /// The host.
        name: HostName,
        /// The revoked key.
        key: Box<PublicKey>,
        /// The file and line that revokes it.
        place: FileLine,
    },
    /// An authority that is trusted for the host signed its certificate, which
    /// is not valid all the same.
    #[error(
        "refused to connect: the certificate of {name} is not valid: {fault} (its authority: {place})"
    )]
    Certificate {
        /// The host.
        name: HostName,
        /// What is wrong with it.
        fault: CertificateError,
        /// The file and line that trusts the authority.
        place: FileLine,
    },
}

/// What is wrong with a host's certificate (PROTOCOL.certkeys of OpenSSH).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is one for users.
    #[error("it is for users, not for hosts")]
    NotForHosts,
    /// It names other hosts, or none.
    #[error("it is for {}", if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") })]
    OtherHost {
        /// The hosts it names.
        names: Vec<String>,
    },
    /// The certificate is not valid yet.
    #[error("it is not valid yet; is the clock right?")]
    Early,
    /// The certificate has expired.
    #[error("it has expired")]
    Expired,
    /// The certificate has a critical option that is not known.
    #[error("it has the critical option {name:?}, which is not known")]
    CriticalOption {
        /// The option.
        name: String,
    },
    /// The signature is wrong, or made with SHA-1.
    #[error("its signature is wrong or too weak")]
    Signature,
}

impl HostTrust {
    /// Trusts no key yet for this host.
    pub fn new(name: HostName) -> Self {
        Self {
            name,
            pinned: None,
            known: KnownHosts::default(),
        }
    }

    /// Accepts this key alone.
    #[must_use]
    pub fn pin(mut self, key: PublicKey) -> Self {
        self.pinned = Some(key);
        self
    }

    /// Accepts what a file of known hosts says as well. One that does not
    /// exist says nothing.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn known_hosts(mut self, path: &Path) -> Result<Self, KnownHostsError> {
        self.known.read(path)?;
        Ok(self)
    }

    /// The lines of those files that could not be understood.
    pub fn passed_over(&self) -> &[FileLine] {
        self.known.passed_over()
    }

    /// The host.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The kinds of keys to ask the server for: those it is known by first.
    pub(crate) fn order(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = match &self.pinned {
            Some(key) => vec![key.algorithm()],
            None => self
                .entries(Marker::None)
                .map(|e| e.key.algorithm())
                .collect(),
        };
        let is_known = |algorithm: &&Algorithm| {
            known
                .iter()
                .any(|known| without_hash(known) == without_hash(algorithm))
        };
        let (first, then): (Vec<_>, Vec<_>) = all.iter().partition(is_known);
        first.into_iter().chain(then).cloned().collect()
    }

    /// Whether a certificate could be accepted for this host.
    pub(crate) fn takes_certificates(&self) -> bool {
        self.pinned.is_none() && self.entries(Marker::CertAuthority).next().is_some()
    }

    /// Whether a server that proved to hold this key is the right one.
    pub(super) fn verify(&self, shown: &PublicKeyOrCertificate) -> Result<(), HostKeyError> {
        let key = shown.public_key();
        let authority = shown.certificate().map(Certificate::signature_key);
        if let Some(entry) = self.entries(Marker::Revoked).find(|entry| {
            entry.key.key_data() == key.key_data() || Some(entry.key.key_data()) == authority
        }) {
            return Err(HostKeyError::Revoked {
                name: self.name.clone(),
                key: Box::new(entry.key.clone()),
                place: entry.place.clone(),
            });
        }
        if let Some(pinned) = &self.pinned {
            return if pinned.key_data() == key.key_data() {
                Ok(())
            } else {
                Err(HostKeyError::NotPinned {
                    name: self.name.clone(),
                    expected: Box::new(pinned.clone()),
                    presented: Box::new(key),
                })
            };
        }
        if let Some(certificate) = shown.certificate()
            && let Some(entry) = self
                .entries(Marker::CertAuthority)
                .find(|entry| entry.key.key_data() == certificate.signature_key())
        {
            return check(certificate, &self.name).map_err(|fault| HostKeyError::Certificate {
                name: self.name.clone(),
                fault,
                place: entry.place.clone(),
            });
        }
        let mut other = None;
        for entry in self.entries(Marker::None) {
            if entry.key.key_data() == key.key_data() {
                return Ok(());
            }
            // One of the same kind tells more.
            let same_kind = entry.key.algorithm() == key.algorithm();
            if other.is_none() || same_kind {
                other = Some(entry);
            }
        }
        Err(match other {
            Some(entry) => HostKeyError::Changed {
                name: self.name.clone(),
                expected: Box::new(entry.key.clone()),
                place: entry.place.clone(),
                presented: Box::new(key),
            },
            None => HostKeyError::Unknown {
                name: self.name.clone(),
                key: Box::new(key),
            },
        })
    }

    fn entries(&self, marker: Marker) -> impl Iterator<Item = &Entry> {
        self.known
            .of(&self.name)
            .filter(move |entry| entry.marker == marker)
    }
}

/// The fingerprint of a key, `SHA256:…`, as OpenSSH prints it.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn without_hash(algorithm: &Algorithm) -> Algorithm {
    match algorithm {
        Algorithm::Rsa { .. } => Algorithm::Rsa { hash: None },
        other => other.clone(),
    }
}

fn check(certificate: &Certificate, name: &HostName) -> Result<(), CertificateError> {
    if certificate.cert_type() != CertType::Host {
        return Err(CertificateError::NotForHosts);
    }
    let sha1 = Algorithm::Rsa { hash: None };
    if certificate.signature().algorithm() == sha1 || certificate.verify_signature().is_err() {
        return Err(CertificateError::Signature);
    }
    let names = certificate.valid_principals();
    if !names.iter().any(|pattern| matches(pattern, name.host())) {
        return Err(CertificateError::OtherHost {
            names: names.to_vec(),
        });
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Err(CertificateError::CriticalOption { name: name.clone() });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    if now < certificate.valid_after() {
        return Err(CertificateError::Early);
    }
    if now >= certificate.valid_before() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
    }

    fn line(key: &PrivateKey) -> String {
        key.public_key().to_openssh().unwrap()
    }

    fn trust(name: &HostName, text: &str) -> HostTrust {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, text).unwrap();
        HostTrust::new(name.clone()).known_hosts(&path).unwrap()
    }

    fn shown(key: &PrivateKey) -> PublicKeyOrCertificate {
        key.public_key().clone().into()
    }

    fn certificate(
        host: &PrivateKey,
        authority: &PrivateKey,
        change: impl FnOnce(&mut Builder),
    ) -> PublicKeyOrCertificate {
        certificate_of(CertType::Host, host, authority, change)
    }

    fn certificate_of(
        kind: CertType,
        host: &PrivateKey,
        authority: &PrivateKey,
        change: impl FnOnce(&mut Builder),
    ) -> PublicKeyOrCertificate {
        let mut builder =
            Builder::new_with_random_nonce(&mut rand::rng(), host.public_key(), 0, u64::MAX - 1)
                .unwrap();
        builder.cert_type(kind).unwrap();
        change(&mut builder);
        builder.sign(authority).unwrap().into()
    }

    #[test]
    fn a_host_is_known_under_its_name_and_port() {
        let (known, other) = (key(), key());
        let name = HostName::new("Node.Example", 4433);
        let text = format!(
            "# a comment\nnot understood\nnode.example {}\n[node.example]:4433,x {}\n",
            line(&other),
            line(&known)
        );
        let trust = trust(&name, &text);
        trust.verify(&shown(&known)).unwrap();
        let error = trust.verify(&shown(&other)).unwrap_err();
        let HostKeyError::Changed { place, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(place.line, 4);
        let said = error.to_string();
        assert!(
            said.contains("WARNING") && said.contains("remove line\n4 of"),
            "{said}"
        );
        assert!(said.contains(&fingerprint(other.public_key())), "{said}");
    }

    #[test]
    fn names_may_be_hashed_patterns_and_negations() {
        let known = key();
        let name = HostName::new("node.example", 22);
        let salt = [7; 20];
        let mac = hmac_of(&salt, "node.example");
        let hashed = HostPatternsText(&salt, mac.as_ref()).to_string();
        for (hosts, found) in [
            (hashed.as_str(), true),
            ("*.example", true),
            ("*.example,!node.*", false),
            ("!node.example,*", false),
            ("[node.example]:22", false),
            ("other", false),
        ] {
            let trust = trust(&name, &format!("{hosts} {}\n", line(&known)));
            let verdict = trust.verify(&shown(&known));
            assert_eq!(verdict.is_ok(), found, "{hosts}");
            if !found {
                assert!(matches!(verdict, Err(HostKeyError::Unknown { .. })));
            }
        }
    }

    fn hmac_of(salt: &[u8], text: &str) -> ring::hmac::Tag {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
        ring::hmac::sign(&key, text.as_bytes())
    }

    struct HostPatternsText<'a>(&'a [u8], &'a [u8]);

    impl std::fmt::Display for HostPatternsText<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            use russh::keys::ssh_key::known_hosts::HostPatterns;
            let hashed = HostPatterns::HashedName {
                salt: self.0.to_vec(),
                hash: self.1.try_into().unwrap(),
            };
            f.write_str(&hashed.to_string())
        }
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_it_is_pinned() {
        let (known, authority) = (key(), key());
        let name = HostName::new("h", 22);
        let text = format!("@revoked * {}\nh {}\n", line(&known), line(&known));
        let revoked = trust(&name, &text);
        for trust in [revoked.clone(), revoked.pin(known.public_key().clone())] {
            let error = trust.verify(&shown(&known)).unwrap_err();
            assert!(matches!(&error, HostKeyError::Revoked { place, .. } if place.line == 1));
        }
        let text = format!("@cert-authority * {0}\n@revoked * {0}\n", line(&authority));
        let signed = certificate(&known, &authority, |b| {
            b.valid_principal("h").unwrap();
        });
        let error = trust(&name, &text).verify(&signed).unwrap_err();
        assert!(matches!(error, HostKeyError::Revoked { .. }));
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let (known, other) = (key(), key());
        let name = HostName::new("h", 22);
        let trust = trust(&name, &format!("h {}\n", line(&other))).pin(known.public_key().clone());
        trust.verify(&shown(&known)).unwrap();
        let error = trust.verify(&shown(&other)).unwrap_err();
        assert!(matches!(error, HostKeyError::NotPinned { .. }));
    }

    #[test]
    fn an_authority_vouches_for_hosts_by_name() {
        let (host, authority) = (key(), key());
        let name = HostName::new("node.example", 4433);
        let text = format!("@cert-authority [*.example]:* {}\n", line(&authority));
        let trust = trust(&name, &text);
        assert!(trust.takes_certificates());
        let good = certificate(&host, &authority, |b| {
            b.valid_principal("node.example").unwrap();
        });
        trust.verify(&good).unwrap();
        let plain = trust.verify(&shown(&host)).unwrap_err();
        assert!(matches!(plain, HostKeyError::Unknown { .. }));
        let strange = certificate(&host, &key(), |b| {
            b.valid_principal("node.example").unwrap();
        });
        let error = trust.verify(&strange).unwrap_err();
        assert!(matches!(error, HostKeyError::Unknown { .. }));

        let fault = |certificate: PublicKeyOrCertificate| match trust.verify(&certificate) {
            Err(HostKeyError::Certificate { fault, .. }) => fault,
            other => panic!("{other:?}"),
        };
        let other_host = certificate(&host, &authority, |b| {
            b.valid_principal("other.example").unwrap();
        });
        let names = vec!["other.example".to_owned()];
        assert_eq!(fault(other_host), CertificateError::OtherHost { names });
        let option = certificate(&host, &authority, |b| {
            b.valid_principal("node.example").unwrap();
            b.critical_option("force-command", "x").unwrap();
        });
        assert!(matches!(
            fault(option),
            CertificateError::CriticalOption { .. }
        ));
        let mut expired =
            Builder::new_with_random_nonce(&mut rand::rng(), host.public_key(), 0, 1).unwrap();
        expired.cert_type(CertType::Host).unwrap();
        expired.valid_principal("node.example").unwrap();
        let expired = expired.sign(&authority).unwrap();
        assert_eq!(fault(expired.into()), CertificateError::Expired);
        let user = certificate_of(CertType::User, &host, &authority, |b| {
            b.valid_principal("node.example").unwrap();
        });
        assert_eq!(fault(user), CertificateError::NotForHosts);
    }

    #[test]
    fn kinds_of_keys_a_host_is_known_by_come_first() {
        let name = HostName::new("h", 22);
        let ecdsa = Algorithm::Ecdsa {
            curve: russh::keys::EcdsaCurve::NistP256,
        };
        let known = PrivateKey::random(&mut rand::rng(), ecdsa.clone()).unwrap();
        let trust = trust(&name, &format!("h {}\n", line(&known)));
        let all = [Algorithm::Ed25519, ecdsa.clone()];
        assert_eq!(trust.order(&all), [ecdsa, Algorithm::Ed25519]);
    }

    #[test]
    fn a_recorded_host_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/known_hosts");
        let known = key();
        let name = HostName::new("::1", 4433);
        super::super::record_host(&path, &HostName::new("a", 22), key().public_key()).unwrap();
        std::fs::write(&path, "# no line feed").unwrap();
        super::super::record_host(&path, &name, known.public_key()).unwrap();
        let trust = HostTrust::new(name).known_hosts(&path).unwrap();
        trust.verify(&shown(&known)).unwrap();
    }
}
