//! Ed25519 key pairs (RFC 8032) and their export as PKCS#8.

use std::fmt;

use ed25519_dalek::SigningKey;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// PKCS#8 version 1 around an Ed25519 seed (RFC 8410, section 7): everything
/// before the 32 bytes of the seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An Ed25519 key pair (RFC 8032).
#[derive(Clone, ZeroizeOnDrop)]
pub struct Ed25519Key(SigningKey);

impl Ed25519Key {
    /// The key pair of a private key, the 32 bytes RFC 8032 calls the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The private key, 32 bytes.
    pub fn expose_seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public key, 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The private key as PKCS#8 DER, version 1 (RFC 8410), which rustls and
    /// OpenSSL read.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([PKCS8_PREFIX.as_slice(), self.0.as_bytes()].concat())
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key(…)")
    }
}
