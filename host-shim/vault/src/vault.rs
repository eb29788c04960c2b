//! The vault: the node's keys, each at its fixed path of the key tree.

use ring::hmac;
use zeroize::Zeroizing;

use crate::slip10::ExtendedKey;
use crate::{DerivationPath, Ed25519Key, Mnemonic, Seed};

/// Where the node's identity, its TLS key, lies: `m/74'/0'/0'/0'`.
pub const NODE_IDENTITY_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 0, 0]);

/// Where the node's SSH host key lies: `m/74'/0'/1'/0'`.
pub const HOST_KEY_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 1, 0]);

/// Where the root of the key for secrets lies: `m/74'/0'/2'/0'`.
pub const SECRETS_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 2, 0]);

/// Where the key of the node's certificate authority lies: `m/74'/0'/3'/0'`.
pub const CERTIFICATE_AUTHORITY_PATH: DerivationPath = DerivationPath::fixed(&[74, 0, 3, 0]);

/// The HKDF label of the key for secrets, which keeps it apart from other keys
/// that may come from the same root one day.
const SECRETS_LABEL: &[u8] = b"alknet secrets key v1";

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

    /// The key of the node's certificate authority, at
    /// [`CERTIFICATE_AUTHORITY_PATH`].
    pub fn certificate_authority(&self) -> Ed25519Key {
        self.derive(&CERTIFICATE_AUTHORITY_PATH)
    }

    /// The key that secrets at rest are encrypted with: 32 bytes by
    /// HKDF-SHA256 (RFC 5869, without salt) from the private key at
    /// [`SECRETS_PATH`], which itself encrypts and signs nothing.
    pub fn secrets_key(&self) -> Zeroizing<[u8; 32]> {
        let root = self.derive(&SECRETS_PATH);
        // Extract, then expand to one block. `ring::hkdf` does the same, with
        // errors for outputs of other lengths.
        let salt = hmac::Key::new(hmac::HMAC_SHA256, &[]);
        let pseudorandom = hmac::sign(&salt, root.expose_seed());
        let expand = hmac::Key::new(hmac::HMAC_SHA256, pseudorandom.as_ref());
        let mut context = hmac::Context::with_key(&expand);
        context.update(SECRETS_LABEL);
        context.update(&[1]);
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    /// The key at any other place of the tree.
    pub fn derive(&self, path: &DerivationPath) -> Ed25519Key {
        ExtendedKey::derive(self.seed.as_bytes(), path).into_key()
    }
}
