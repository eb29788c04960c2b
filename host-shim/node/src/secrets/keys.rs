//! The keys a node proves itself with.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use alknet_handler::Secret;
use alknet_quic::{NodeKey, NodeSecret};
use alknet_vault::Vault;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secrets::wire::{take_string, take_u32};

/// The largest key file that is read, in bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// The keys of a node for TLS and for SSH.
pub struct NodeKeys {
    /// The key of the node in TLS.
    pub node: NodeSecret,
    /// The host keys of the node in SSH, preferred first.
    pub host_keys: Vec<HostKey>,
}

impl NodeKeys {
    /// The public TLS key, which clients pin.
    pub fn node_key(&self) -> NodeKey {
        self.node.public()
    }

    /// The public halves of all keys.
    pub(crate) fn public(&self) -> PublicKeys {
        let host_keys = self.host_keys.iter();
        PublicKeys {
            node: self.node_key(),
            host_keys: host_keys.map(|key| key.public_line.clone()).collect(),
        }
    }
}

/// The public halves of a node's keys, to tell whether they are still the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKeys {
    node: NodeKey,
    host_keys: Vec<String>,
}

/// One SSH host key.
pub struct HostKey {
    /// The private key in OpenSSH's format (PROTOCOL.key).
    pub private: Secret,
    /// The public key as one line: type and base64.
    pub public_line: String,
    /// `SHA256:<base64>`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// Derives the node's TLS secret and its host key from the vault.
pub(crate) fn from_vault(vault: &Vault) -> Result<NodeKeys, KeysError> {
    let node = NodeSecret::from_pkcs8_der(&vault.node_identity().to_pkcs8_der())
        .map_err(|_| KeysError::Derivation)?;
    let text = vault.host_key().to_openssh_private("alknet host key");
    let host_key = host_key(text.as_bytes()).map_err(|_| KeysError::Derivation)?;
    Ok(NodeKeys {
        node,
        host_keys: vec![host_key],
    })
}

/// Reads a host key file: an unencrypted private key in OpenSSH's format that
/// only its owner can read.
pub(crate) fn read_host_key(path: &Path) -> Result<HostKey, KeysError> {
    let text = read_private_file(path)?;
    host_key(&text).map_err(|problem| KeysError::Unusable {
        path: path.to_owned(),
        problem,
    })
}

/// Reads the first line of a passphrase file.
pub(crate) fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, KeysError> {
    let bytes = read_private_file(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeysError::NotText {
        path: path.to_owned(),
    })?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}

/// Why a key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system would not open or read the file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or change the file.
    #[error("{} is open to others (mode {:04o}); run: chmod 600 '{}'", path.display(), mode, path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error(
        "{}: {problem}; expected an unencrypted private key as `ssh-keygen -t ed25519 -N ''` writes it",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A passphrase file is not text.
    #[error("{}: is not UTF-8 text; expected the mnemonic's passphrase in its first line", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A derived key was refused by the crypto library.
    #[error("a key derived from the mnemonic was refused; this is a fault of the program")]
    Derivation,
}

fn read_private_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeysError> {
    let failed = |source| KeysError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize));
    file.take(MAX_KEY_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// Reads a host key from the text of its file.
pub(crate) fn host_key(text: &[u8]) -> Result<HostKey, &'static str> {
    let blob = public_blob(text)?;
    let kind = take_string(&mut blob.as_slice())
        .and_then(|kind| String::from_utf8(kind.to_vec()).ok())
        .ok_or("its public part is damaged")?;
    Ok(HostKey {
        private: Secret::new(text.to_vec()),
        public_line: format!("{kind} {}", BASE64_STANDARD.encode(&blob)),
        fingerprint: fingerprint(&blob),
    })
}

/// `SHA256:<base64>` of a public key blob (RFC 4253 section 6.6).
fn fingerprint(blob: &[u8]) -> String {
    format!(
        "SHA256:{}",
        BASE64_STANDARD_NO_PAD.encode(Sha256::digest(blob))
    )
}

/// The public key in a private key file (OpenSSH PROTOCOL.key): it stands in
/// front of the private part, in the clear.
fn public_blob(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
    let body = text
        .trim()
        .strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END OPENSSH PRIVATE KEY-----"))
        .ok_or("it is not a private key in OpenSSH's format")?;
    let compact: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    let bytes = Zeroizing::new(
        BASE64_STANDARD
            .decode(compact.as_bytes())
            .map_err(|_| "its base64 is damaged")?,
    );
    let mut rest = bytes
        .strip_prefix(b"openssh-key-v1\0")
        .ok_or("it is not a private key in OpenSSH's format")?;
    let cipher = take_string(&mut rest).ok_or("it is cut short")?;
    if cipher != b"none" {
        return Err("it is encrypted");
    }
    take_string(&mut rest).ok_or("it is cut short")?;
    take_string(&mut rest).ok_or("it is cut short")?;
    let count = take_u32(&mut rest).ok_or("it is cut short")?;
    if count != 1 {
        return Err("it does not hold exactly one key");
    }
    take_string(&mut rest)
        .map(<[u8]>::to_vec)
        .ok_or("it is cut short")
}

#[cfg(test)]
mod tests {
    use alknet_vault::Mnemonic;

    use super::*;

    fn mnemonic() -> Mnemonic {
        let phrase = "abandon ".repeat(11) + "about";
        Mnemonic::parse(&phrase).unwrap()
    }

    #[test]
    fn the_host_keys_public_line_is_that_of_the_vault() {
        let keys = from_vault(&Vault::from_mnemonic(&mnemonic(), "")).unwrap();
        let line = Vault::from_mnemonic(&mnemonic(), "")
            .host_key()
            .openssh_public_line("");
        assert_eq!(keys.host_keys[0].public_line, line.trim());
        assert!(keys.host_keys[0].fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn a_key_file_open_to_others_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        let text = Vault::from_mnemonic(&mnemonic(), "")
            .host_key()
            .to_openssh_private("");
        std::fs::write(&path, text.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_host_key(&path).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        read_host_key(&path).unwrap();
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (text, said) in [
            (&b"ssh-ed25519 AAAA"[..], "not a private key"),
            (
                b"-----BEGIN OPENSSH PRIVATE KEY-----\n!!\n-----END OPENSSH PRIVATE KEY-----",
                "base64",
            ),
            (b"\xff", "not text"),
        ] {
            let problem = host_key(text).err().unwrap();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
