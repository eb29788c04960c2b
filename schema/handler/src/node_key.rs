//! The Ed25519 keys by which nodes and clients know each other (RFC 7250, RFC
//! 8410).

use std::fmt;
use std::str::FromStr;

/// An Ed25519 public key that names a node or a client in TLS.
///
/// Written as `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey([u8; 32]);

impl NodeKey {
    /// The key from its 32 bytes (RFC 8032 section 5.1.5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key out of a SubjectPublicKeyInfo, which is what a raw public key is
    /// in TLS (RFC 7250 section 3). `None` unless it is an Ed25519 key in the
    /// only encoding RFC 8410 section 4 allows.
    pub fn from_spki_der(der: &[u8]) -> Option<Self> {
        let key = der.strip_prefix(SPKI_PREFIX.as_slice())?;
        Some(Self(key.try_into().ok()?))
    }

    /// The key as SubjectPublicKeyInfo (RFC 8410 section 4).
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TEXT_PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeKey {
    type Err = NodeKeyError;

    fn from_str(text: &str) -> Result<Self, NodeKeyError> {
        let digits = text
            .strip_prefix(TEXT_PREFIX)
            .ok_or(NodeKeyError::MissingPrefix)?;
        if let Some((index, found)) = digits.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
            return Err(NodeKeyError::NotHex {
                position: TEXT_PREFIX.len() + index + 1,
                found,
            });
        }
        let mut key = [0; 32];
        hex::decode_to_slice(digits, &mut key).map_err(|_| NodeKeyError::Length {
            digits: digits.len(),
        })?;
        Ok(Self(key))
    }
}

/// Why a text is not a [`NodeKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeKeyError {
    /// It does not begin with `ed25519:`.
    #[error("a node key is written `ed25519:` and 64 hexadecimal digits")]
    MissingPrefix,
    /// A character after the prefix is not a hexadecimal digit.
    #[error("{found:?} at position {position} of the node key is not a hexadecimal digit")]
    NotHex {
        /// Where it stands, counted in bytes from 1 at the start of the text.
        position: usize,
        /// The character found there.
        found: char,
    },
    /// There are too few or too many digits.
    #[error("a node key has 64 hexadecimal digits after \"ed25519:\", this one has {digits}")]
    Length {
        /// How many there are.
        digits: usize,
    },
}

const TEXT_PREFIX: &str = "ed25519:";

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8032 section 7.1, test 1.
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn text_and_der_round_trip() {
        let key: NodeKey = format!("ed25519:{PUBLIC}").parse().unwrap();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(NodeKey::from_spki_der(&key.to_spki_der()), Some(key));
        let upper: NodeKey = format!("ed25519:{}", PUBLIC.to_uppercase())
            .parse()
            .unwrap();
        assert_eq!(upper, key);
    }

    #[test]
    fn faults_are_named() {
        let parse = |text: &str| text.parse::<NodeKey>().unwrap_err();
        assert_eq!(parse(""), NodeKeyError::MissingPrefix);
        assert_eq!(parse(PUBLIC), NodeKeyError::MissingPrefix);
        assert_eq!(parse("ed25519:"), NodeKeyError::Length { digits: 0 });
        assert_eq!(
            parse(&format!("ed25519:{PUBLIC}0")),
            NodeKeyError::Length { digits: 65 }
        );
        assert_eq!(
            parse("ed25519:0g"),
            NodeKeyError::NotHex {
                position: 10,
                found: 'g'
            }
        );
        assert_eq!(
            parse("ed25519:é"),
            NodeKeyError::NotHex {
                position: 9,
                found: 'é'
            }
        );
    }

    #[test]
    fn other_keys_are_not_taken() {
        let key = NodeKey::from_bytes([7; 32]);
        let mut der = key.to_spki_der();
        der.push(0);
        assert_eq!(NodeKey::from_spki_der(&der), None);
        der.truncate(43);
        assert_eq!(NodeKey::from_spki_der(&der), None);
        der = key.to_spki_der();
        der[8] = 0x6f; // Ed448 is 1.3.101.113, X25519 .110: anything but .112.
        assert_eq!(NodeKey::from_spki_der(&der), None);
    }
}
