//! The Ed25519 key of a peer's TLS handshake (RFC 7250), in its text form.

use std::fmt;
use std::str::FromStr;

/// The Ed25519 key a peer shows in the TLS handshake (RFC 7250), written
/// `ed25519:` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl FromStr for NodeKey {
    type Err = NodeKeyError;

    fn from_str(text: &str) -> Result<Self, NodeKeyError> {
        let digits = text
            .strip_prefix("ed25519:")
            .ok_or(NodeKeyError::NoPrefix)?;
        let mut key = [0; 32];
        hex::decode_to_slice(digits, &mut key).map_err(|error| match error {
            hex::FromHexError::InvalidHexCharacter { index, .. } => NodeKeyError::NotHex {
                position: index + 1,
            },
            _ => NodeKeyError::WrongLength {
                found: digits.chars().count(),
            },
        })?;
        Ok(Self(key))
    }
}

impl fmt::Display for NodeKey {
    /// Writes lower-case digits, the form by which the endpoint looks keys up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex::encode(self.0))
    }
}

/// Why a text is not a TLS key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeKeyError {
    /// It does not start with `ed25519:`.
    #[error("a node key is written `ed25519:` and 64 hex digits; an SSH key belongs under `keys`")]
    NoPrefix,
    /// It has the wrong number of digits.
    #[error("after `ed25519:` come 64 hex digits; here are {found}")]
    WrongLength {
        /// The number of characters after the prefix.
        found: usize,
    },
    /// A character is not a hex digit.
    #[error("character {position} after `ed25519:` is not a hex digit")]
    NotHex {
        /// The position of the character after the prefix, counted from 1.
        position: usize,
    },
}
