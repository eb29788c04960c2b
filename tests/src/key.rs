//! A fresh Ed25519 key in all the forms that tests need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alknet_openssh::Ed25519KeyFiles;
use alknet_quic::NodeSecret;
use alknet_ssh::PrivateKey;
use alknet_vault::Ed25519Key;

/// A fresh Ed25519 key, in the files that OpenSSH uses.
pub struct TestKey {
    key: Ed25519Key,
    /// The private key file.
    pub file: PathBuf,
}

impl TestKey {
    /// Makes a key, and its two files `name` and `name.pub` in `folder`.
    pub fn make(folder: &Path, name: &str) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let key = Ed25519Key::from_seed(&seed);
        let file = folder.join(name);
        let files = openssh_files(&key, name);
        fs::write(&file, files.private()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let line = files.public_line();
        fs::write(folder.join(format!("{name}.pub")), format!("{line}\n")).unwrap();
        Self { key, file }
    }

    /// The public key file.
    pub fn public_file(&self) -> PathBuf {
        self.file.with_extension("pub")
    }

    /// The public key as a line.
    pub fn public_line(&self) -> String {
        openssh_files(&self.key, "test").public_line().to_owned()
    }

    /// The key for our own SSH client.
    pub fn ssh(&self) -> Arc<PrivateKey> {
        let files = openssh_files(&self.key, "test");
        Arc::new(PrivateKey::from_openssh(files.private()).unwrap())
    }

    /// The seed (32 bytes, RFC 8032) that the key is made from.
    pub fn seed(&self) -> [u8; 32] {
        *self.key.expose_seed()
    }

    /// The fingerprint, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let hash = Default::default();
        self.ssh().public_key().fingerprint(hash).to_string()
    }

    /// The same key for use in the TLS handshake.
    pub fn tls(&self) -> NodeSecret {
        NodeSecret::from_seed(self.key.expose_seed()).unwrap()
    }
}

/// A key in OpenSSH's formats.
pub fn openssh_files(key: &Ed25519Key, comment: &str) -> Ed25519KeyFiles {
    Ed25519KeyFiles::new(key.expose_seed(), &key.public_key(), comment).unwrap()
}
