//! The key of a certificate authority, and what it signs.

use std::fmt;

use ssh_key::certificate::{Builder, CertType, Certificate};
use ssh_key::{Algorithm, PrivateKey, PublicKey};

use crate::{ACCOUNTS, HostTerms, ListError, SCOPES, UserTerms, Validity, write_list};

/// A certificate authority: an Ed25519 key that signs certificates.
pub struct Authority(PrivateKey);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// Reads the authority's key: a private key in OpenSSH's format without a
    /// passphrase.
    ///
    /// # Errors
    /// When it is not one, or of another kind than Ed25519. The error holds nothing
    /// of the key.
    pub fn from_openssh(text: &[u8]) -> Result<Self, AuthorityError> {
        let key = PrivateKey::from_openssh(text).map_err(|_| AuthorityError::NotAKey)?;
        match key.key_data().ed25519() {
            Some(_) => Ok(Self(key)),
            None => Err(AuthorityError::NotAKey),
        }
    }

    /// Its public key as a line, without a comment.
    pub fn public_line(&self) -> String {
        let key = PublicKey::new(self.0.public_key().key_data().clone(), "");
        let line = key.to_openssh().unwrap_or_default();
        line.trim_end().to_owned()
    }

    /// Its public key in SSH's binary form.
    pub(crate) fn public_blob(&self) -> Vec<u8> {
        self.0.public_key().to_bytes().unwrap_or_default()
    }

    /// Certifies the public key of a user, given as a line. Gives the line of a
    /// `-cert.pub` file.
    ///
    /// # Errors
    /// When the key cannot be certified, or the terms make no certificate.
    pub fn sign_user(&self, key: &str, terms: &UserTerms) -> Result<String, AuthorityError> {
        let mut builder = builder(key, terms.validity)?;
        builder.cert_type(CertType::User)?;
        names(&mut builder, terms.serial, &terms.key_id, &terms.principals)?;
        for (name, list) in [(SCOPES, &terms.scopes), (ACCOUNTS, &terms.accounts)] {
            if let Some(list) = list {
                builder.extension(name, write_list(list)?)?;
            }
        }
        for name in terms.permits.names() {
            builder.extension(name, "")?;
        }
        for (name, value) in [
            ("force-command", &terms.force_command),
            ("source-address", &terms.source_address),
        ] {
            if let Some(value) = value {
                builder.critical_option(name, value.as_str())?;
            }
        }
        self.sign(builder)
    }

    /// Certifies the key of a host, given as a line. Gives the line of a
    /// `-cert.pub` file.
    ///
    /// # Errors
    /// When the key cannot be certified, or the terms make no certificate.
    pub fn sign_host(&self, key: &str, terms: &HostTerms) -> Result<String, AuthorityError> {
        let mut builder = builder(key, terms.validity)?;
        builder.cert_type(CertType::Host)?;
        names(&mut builder, terms.serial, &terms.key_id, &terms.names)?;
        self.sign(builder)
    }

    fn sign(&self, builder: Builder) -> Result<String, AuthorityError> {
        let certificate: Certificate = builder.sign(&self.0)?;
        Ok(certificate.to_openssh()?.trim_end().to_owned())
    }
}

fn builder(key: &str, validity: Validity) -> Result<Builder, AuthorityError> {
    let key = PublicKey::from_openssh(key.trim()).map_err(|_| AuthorityError::NotAPublicKey)?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
        // Of an RSA key nothing is known here: it may be a weak one.
        other => {
            return Err(AuthorityError::Kind {
                found: other.to_string(),
            });
        }
    }
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| AuthorityError::NoRandomness)?;
    let key = key.key_data().clone();
    Ok(Builder::new(nonce, key, validity.after, validity.before)?)
}

fn names(
    builder: &mut Builder,
    serial: u64,
    key_id: &str,
    names: &[String],
) -> Result<(), AuthorityError> {
    builder.serial(serial)?;
    builder.key_id(key_id)?;
    if names.is_empty() {
        return Err(AuthorityError::NoPrincipal);
    }
    for name in names {
        // As OpenSSH lists them: a comma would make two of one.
        if name.is_empty()
            || name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
        {
            return Err(AuthorityError::Principal { name: name.clone() });
        }
        builder.valid_principal(name.as_str())?;
    }
    Ok(())
}

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The authority's key is not one.
    #[error(
        "the authority's key is not an Ed25519 private key in OpenSSH's format without a passphrase"
    )]
    NotAKey,
    /// What is to be certified is not a public key.
    #[error(
        "this is not a public key; expected the one line of a .pub file, such as \"ssh-ed25519 AAAA…\""
    )]
    NotAPublicKey,
    /// A kind of key that is not certified.
    #[error(
        "keys of the kind {found} are not certified; use ssh-ed25519 (ssh-keygen -t ed25519) or ECDSA"
    )]
    Kind {
        /// The kind.
        found: String,
    },
    /// A certificate without names would stand for nobody here, and for everybody in
    /// OpenSSH.
    #[error("a certificate has to name somebody: give at least one name")]
    NoPrincipal,
    /// A name cannot stand in a certificate.
    #[error("{name:?} cannot be a name in a certificate: no commas, spaces or control characters")]
    Principal {
        /// The name.
        name: String,
    },
    /// A scope or an account cannot stand in a certificate.
    #[error(transparent)]
    List(#[from] ListError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The certificate could not be put together.
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] ssh_key::Error),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Permits;

    pub(crate) const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    pub(crate) fn authority() -> Authority {
        let seed = ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
        let key = PrivateKey::from(seed);
        let text = key.to_openssh(ssh_key::LineEnding::LF).unwrap();
        Authority::from_openssh(text.as_bytes()).unwrap()
    }

    fn terms() -> UserTerms {
        UserTerms {
            serial: 7,
            key_id: "alice".to_owned(),
            principals: vec!["alice".to_owned()],
            validity: Validity {
                after: 10,
                before: 20,
            },
            scopes: Some(vec!["ssh:exec".to_owned()]),
            accounts: None,
            permits: Permits::ALL,
            force_command: None,
            source_address: None,
        }
    }

    #[test]
    fn a_certificate_says_what_its_terms_say() {
        let line = authority().sign_user(KEY, &terms()).unwrap();
        let made = Certificate::from_openssh(&line).unwrap();
        assert_eq!((made.serial(), made.key_id()), (7, "alice"));
        assert_eq!(made.valid_principals(), ["alice"]);
        assert_eq!((made.valid_after(), made.valid_before()), (10, 20));
        assert_eq!(made.extensions().get(SCOPES).unwrap(), "ssh:exec");
        assert!(made.extensions().contains_key("permit-pty"));
        assert!(!made.extensions().contains_key(ACCOUNTS));
        made.verify_signature().unwrap();
    }

    #[test]
    fn a_certificate_for_nobody_or_of_another_kind_of_key_is_not_made() {
        let mut nobody = terms();
        nobody.principals.clear();
        assert!(matches!(
            authority().sign_user(KEY, &nobody),
            Err(AuthorityError::NoPrincipal)
        ));
        nobody.principals = vec!["a,root".to_owned()];
        assert!(matches!(
            authority().sign_user(KEY, &nobody),
            Err(AuthorityError::Principal { .. })
        ));
        assert!(matches!(
            authority().sign_user("ssh-ed25519 AAAA", &terms()),
            Err(AuthorityError::NotAPublicKey)
        ));
        assert!(Authority::from_openssh(KEY.as_bytes()).is_err());
    }
}
