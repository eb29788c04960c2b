//! The list of revoked keys and certificates (`RevokedKeys`, sshd_config(5)).

use std::collections::HashSet;
use std::str;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use russh::keys::PublicKey;

use super::krl::{self, KrlError, Revoked};

/// Keys and certificates that are no longer accepted, as sshd's
/// `RevokedKeys` lists them (sshd_config(5)): a key revocation list as
/// `ssh-keygen -k` makes it, or public keys, one a line.
#[derive(Debug, Default)]
pub(crate) struct RevokedKeys(Revoked);

impl RevokedKeys {
    /// Reads a list of either form.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RevokedKeysError> {
        if krl::is_one(bytes) {
            return krl::parse(bytes).map(Self).map_err(RevokedKeysError::Krl);
        }
        let text = str::from_utf8(bytes).map_err(|_| RevokedKeysError::NeitherForm)?;
        let mut keys = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = key(line).map_err(|fault| RevokedKeysError::Line {
                line: index + 1,
                fault,
            })?;
            keys.insert(key);
        }
        Ok(Self(Revoked {
            keys,
            ..Revoked::default()
        }))
    }

    /// Whether a plain key, a certified one or that of an authority is listed.
    pub(super) fn holds_key(&self, key: &PublicKey) -> bool {
        if self.0.keys.is_empty() && self.0.sha1.is_empty() && self.0.sha256.is_empty() {
            return false;
        }
        // A key that has no binary form could not be found here.
        let Ok(blob) = key.to_bytes() else {
            return true;
        };
        self.0.keys.contains(&blob)
            || self.0.sha256.contains(digest(&SHA256, &blob).as_ref())
            || self
                .0
                .sha1
                .contains(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
    }

    /// Whether a certificate is listed by its serial number or key id. As in
    /// OpenSSH, serial number 0 means that the authority does not number.
    pub(super) fn holds_certificate(&self, authority: &PublicKey, serial: u64, id: &str) -> bool {
        if self.0.certificates.is_empty() {
            return false;
        }
        let Ok(authority) = authority.to_bytes() else {
            return true;
        };
        self.0
            .certificates
            .iter()
            .filter(|section| section.authority.is_empty() || section.authority == authority)
            .any(|section| section.holds(serial, id))
    }
}

fn key(line: &str) -> Result<Vec<u8>, &'static str> {
    let algorithm = line.split_whitespace().next().unwrap_or_default();
    if algorithm.ends_with("-cert-v01@openssh.com") {
        return Err(
            "this is a certificate; to revoke it, make a key revocation list with `ssh-keygen -k`",
        );
    }
    let key = PublicKey::from_openssh(line)
        .map_err(|_| "this is not a public key; expected a line of a .pub file, without options")?;
    key.to_bytes().map_err(|_| "this key cannot be listed")
}

/// Why a list of revoked keys cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RevokedKeysError {
    #[error("this is neither a key revocation list nor a text file of public keys")]
    NeitherForm,
    #[error("line {line}: {fault}")]
    Line { line: usize, fault: &'static str },
    #[error("the key revocation list is not sound: {0}")]
    Krl(KrlError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAD7iH49kblpJQrYKdyQce965pJrbRt2TuUYc5gxDPMp";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_text_file_lists_keys() {
        let text = format!("# lost\n\n  {ONE} alice@laptop\n");
        let revoked = RevokedKeys::parse(text.as_bytes()).unwrap();
        let key = |line| PublicKey::from_openssh(line).unwrap();
        assert!(revoked.holds_key(&key(ONE)) && !revoked.holds_key(&key(TWO)));
        assert!(!revoked.holds_certificate(&key(ONE), 1, "x"));
        let nothing = RevokedKeys::parse(b"").unwrap();
        assert!(!nothing.holds_key(&key(ONE)));
    }

    #[test]
    fn what_is_no_list_is_named() {
        for (bytes, why) in [
            (
                format!("{TWO}\nssh-ed25519 AAAA"),
                "line 2: this is not a public key",
            ),
            (
                format!("restrict {ONE}"),
                "line 1: this is not a public key",
            ),
            (
                "ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(),
                "line 1: this is a certificate",
            ),
        ] {
            let error = RevokedKeys::parse(bytes.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(why), "{error}");
        }
        assert_eq!(
            RevokedKeys::parse(b"\xff\xfe").unwrap_err(),
            RevokedKeysError::NeitherForm
        );
    }
}
