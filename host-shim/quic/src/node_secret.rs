//! The private half of a node's key, ready to sign in TLS (RFC 7250, RFC 8410).

use std::fmt;
use std::sync::Arc;

use alknet_handler::NodeKey;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

/// The private half of a [`NodeKey`], ready to sign.
#[derive(Clone)]
pub struct NodeSecret {
    signing_key: Arc<dyn SigningKey>,
    seed: Arc<Zeroizing<[u8; 32]>>,
    public: NodeKey,
}

impl NodeSecret {
    /// Takes a PKCS #8 document (RFC 8410 section 7), with or without the
    /// public key in it. The bytes are not kept; wiping them is the caller's.
    ///
    /// # Errors
    /// When it is not an Ed25519 private key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, NodeSecretError> {
        let signing_key =
            any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).map_err(|_| NodeSecretError)?;
        let public = signing_key
            .public_key()
            .and_then(|spki| NodeKey::from_spki_der(&spki))
            .ok_or(NodeSecretError)?;
        let seed = seed_in(der).ok_or(NodeSecretError)?;
        Ok(Self {
            signing_key,
            seed: Arc::new(seed),
            public,
        })
    }

    /// Takes the 32 secret bytes of RFC 8032 section 5.1.5.
    ///
    /// # Errors
    /// None in practice; the crypto library has the last word.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NodeSecretError> {
        let document = Zeroizing::new([PKCS8_PREFIX.as_slice(), seed].concat());
        Self::from_pkcs8_der(&document)
    }

    /// The public half.
    pub fn public(&self) -> NodeKey {
        self.public
    }

    /// The 32 secret bytes (RFC 8032 section 5.1.5), for another stack to sign
    /// with. Copies of them are the caller's to wipe.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signing_key)
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSecret(of {})", self.public)
    }
}

/// The bytes are not an Ed25519 private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS #8 (RFC 8410)")]
pub struct NodeSecretError;

/// SEQUENCE { version 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING around an
/// OCTET STRING of 32 bytes }.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The secret bytes in a PKCS #8 document, which stand at the same place whether
/// or not the public key follows.
fn seed_in(der: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let algorithm = PKCS8_PREFIX.get(5..)?;
    if der.get(5..PKCS8_PREFIX.len())? != algorithm {
        return None;
    }
    let seed = der.get(PKCS8_PREFIX.len()..PKCS8_PREFIX.len() + 32)?;
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(seed);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8032 section 7.1, test 1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn the_public_half_is_the_one_of_rfc_8032() {
        let mut seed = [0; 32];
        hex::decode_to_slice(SEED, &mut seed).unwrap();
        let secret = NodeSecret::from_seed(&seed).unwrap();
        assert_eq!(secret.public().to_string(), format!("ed25519:{PUBLIC}"));
        assert_eq!(secret.expose_seed(), &seed);
        assert!(!format!("{secret:?}").contains(&SEED[..8]));
    }

    #[test]
    fn other_bytes_are_not_taken() {
        assert_eq!(
            NodeSecret::from_pkcs8_der(b"nonsense").unwrap_err(),
            NodeSecretError
        );
    }
}
