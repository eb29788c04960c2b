//! The derivation of Ed25519 keys from a seed (SLIP-0010).

use ring::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{DerivationPath, Ed25519Key};

/// A node of the key tree: a private key and the chain code its children are
/// made with (SLIP-0010, curve ed25519).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct ExtendedKey {
    key: [u8; 32],
    chain_code: [u8; 32],
}

impl ExtendedKey {
    /// Walks from the master key of `seed` down to `path`.
    pub(crate) fn derive(seed: &[u8], path: &DerivationPath) -> Self {
        path.hardened_indices()
            .fold(Self::master(seed), |parent, index| parent.child(index))
    }

    pub(crate) fn into_key(self) -> Ed25519Key {
        Ed25519Key::from_seed(&self.key)
    }

    fn master(seed: &[u8]) -> Self {
        Self::from_hmac(b"ed25519 seed", &[seed])
    }

    /// Derives a child. `index` carries the hardened bit: this curve has no
    /// other children.
    fn child(&self, index: u32) -> Self {
        Self::from_hmac(
            &self.chain_code,
            &[&[0], self.key.as_slice(), &index.to_be_bytes()],
        )
    }

    fn from_hmac(key: &[u8], parts: &[&[u8]]) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, key));
        for part in parts {
            context.update(part);
        }
        let mut output = Zeroizing::new([0; 64]);
        output.copy_from_slice(context.sign().as_ref());
        let mut extended = Self {
            key: [0; 32],
            chain_code: [0; 32],
        };
        let (left, right) = output.split_at(32);
        extended.key.copy_from_slice(left);
        extended.chain_code.copy_from_slice(right);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors() {
        // Test vectors 1 and 2 for ed25519 of SLIP-0010; the leading 00 of its
        // public keys is left out.
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/vectors/slip10-ed25519.json")).unwrap();
        let mut steps = 0;
        for vector in vectors.as_array().unwrap() {
            let seed = hex::decode(vector["seed"].as_str().unwrap()).unwrap();
            for step in vector["steps"].as_array().unwrap() {
                let text = step["path"].as_str().unwrap();
                let path: DerivationPath = text.parse().unwrap();
                let node = ExtendedKey::derive(&seed, &path);
                assert_eq!(hex::encode(node.chain_code), step["chain_code"], "{text}");
                assert_eq!(hex::encode(node.key), step["private"], "{text}");
                let public = node.into_key().public_key();
                assert_eq!(hex::encode(public), step["public"], "{text}");
                steps += 1;
            }
        }
        assert_eq!(steps, 12);
    }
}
