//! The keys a node proves itself with.

use std::path::{Path, PathBuf};

use alknet_handler::Secret;
use alknet_openssh::{
    Ed25519KeyFiles, KeyWriteError, PrivateFile, PrivateFileError, PrivateKeyError, PrivateKeyFile,
};
use alknet_quic::{NodeKey, NodeSecret};
use alknet_vault::{Ed25519Key, Vault};
use zeroize::Zeroizing;

/// The largest key file that is read, in bytes.
const MAX_KEY_FILE: usize = 64 * 1024;

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
    let files = openssh_files(&vault.host_key(), "alknet host key");
    let files = files.map_err(|_| KeysError::Derivation)?;
    let host_key = host_key(files.private().as_bytes()).map_err(|_| KeysError::Derivation)?;
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
    /// The file cannot be read, or others may read or change it.
    #[error("{0}")]
    File(#[from] PrivateFileError),
    /// The file does not hold what it should.
    #[error(
        "{}: {problem}; expected an unencrypted private key as `ssh-keygen -t ed25519 -N ''` writes it",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: PrivateKeyError,
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
    // A service's credentials may be links, and belong to whom systemd chose.
    let rules = PrivateFile {
        follow_links: true,
        any_owner: true,
    };
    Ok(rules.read(path, MAX_KEY_FILE)?)
}

/// Reads a host key from the text of its file.
pub(crate) fn host_key(text: &[u8]) -> Result<HostKey, PrivateKeyError> {
    let key = PrivateKeyFile::parse(text)?;
    if key.is_encrypted() {
        return Err(PrivateKeyError::Encrypted);
    }
    Ok(HostKey {
        private: Secret::new(text.to_vec()),
        public_line: key.public_line().to_owned(),
        fingerprint: key.fingerprint(),
    })
}

/// A derived key in OpenSSH's formats.
///
/// # Errors
/// When the comment is far too long for them.
pub(crate) fn openssh_files(
    key: &Ed25519Key,
    comment: &str,
) -> Result<Ed25519KeyFiles, KeyWriteError> {
    Ed25519KeyFiles::new(key.expose_seed(), &key.public_key(), comment)
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
        let derived = Vault::from_mnemonic(&mnemonic(), "").host_key();
        let files = openssh_files(&derived, "").unwrap();
        assert_eq!(keys.host_keys[0].public_line, files.public_line());
        assert!(keys.host_keys[0].fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn a_key_file_open_to_others_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host_key");
        let derived = Vault::from_mnemonic(&mnemonic(), "").host_key();
        let files = openssh_files(&derived, "").unwrap();
        std::fs::write(&path, files.private()).unwrap();
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
            let problem = host_key(text).err().unwrap().to_string();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
