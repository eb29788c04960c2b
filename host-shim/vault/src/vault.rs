use crate::slip10::ExtendedKey;
use crate::{DerivationPath, Ed25519Key, Mnemonic, Seed};

/// Where the node's identity, its TLS key, lies: `m/74'/0'/0'/0'`.
pub const NODE_IDENTITY_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 0, 0]);

/// Where the node's SSH host key lies: `m/74'/0'/1'/0'`.
pub const HOST_KEY_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 1, 0]);

/// The tree of keys that grows from one mnemonic.
#[derive(Debug)]
pub struct Vault {
    seed: Seed,
}

impl Vault {
    /// Opens the vault of these words. Another passphrase is another vault; an
    /// empty one is the usual case.
    pub fn from_mnemonic(mnemonic: &Mnemonic, passphrase: &str) -> Self {
        Self {
            seed: mnemonic.to_seed(passphrase),
        }
    }

    /// The node's identity, at [`NODE_IDENTITY_PATH`].
    pub fn node_identity(&self) -> Ed25519Key {
        self.derive(&NODE_IDENTITY_PATH)
    }

    /// The node's SSH host key, at [`HOST_KEY_PATH`].
    pub fn host_key(&self) -> Ed25519Key {
        self.derive(&HOST_KEY_PATH)
    }

    /// The key at any other place of the tree.
    pub fn derive(&self, path: &DerivationPath) -> Ed25519Key {
        ExtendedKey::derive(self.seed.as_bytes(), path).into_key()
    }
}
