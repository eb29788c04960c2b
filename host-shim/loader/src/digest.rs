//! The SHA-256 of a library's contents, by which the node names it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};
use ssh_key::HashAlg;

const PREFIX: &str = "sha256:";

/// The SHA-256 of a library, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hex digits alone, as used in file names.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// The hashes of a library that is read in parts.
pub(crate) struct Hashes {
    sha256: Sha256,
    /// The hash that signatures are of by default; `None` where no signature is
    /// checked.
    sha512: Option<Sha512>,
}

impl Hashes {
    pub(crate) fn new(for_signature: bool) -> Self {
        Self {
            sha256: Sha256::new(),
            sha512: for_signature.then(Sha512::new),
        }
    }

    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.sha256.update(chunk);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(chunk);
        }
    }

    /// The digest of everything that was read.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.sha256.clone().finalize().into())
    }

    /// The hash that a signature with this algorithm signs; `None` if the
    /// algorithm is not known.
    pub(crate) fn prehash(&self, algorithm: HashAlg) -> Option<Vec<u8>> {
        match algorithm {
            HashAlg::Sha256 => Some(self.digest().0.to_vec()),
            HashAlg::Sha512 => Some(self.sha512.clone()?.finalize().to_vec()),
            _ => None,
        }
    }
}

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text does not start with `sha256:`.
    #[error(
        "\"{found}\" is not a digest: expected \"sha256:\" and 64 hex digits; `sha256sum FILE` prints the digits"
    )]
    Prefix {
        /// The text.
        found: String,
    },
    /// What follows `sha256:` has another length than 64.
    #[error("a sha256 digest has 64 hex digits, this one has {found}")]
    Length {
        /// The number of characters after the prefix.
        found: usize,
    },
    /// A character that is not a hex digit.
    #[error("a sha256 digest has hex digits only, this one has '{found}' as digit {position}")]
    NotHex {
        /// The character.
        found: char,
        /// The position of the digit, counted from 1.
        position: usize,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| DigestError::Prefix {
                found: text.chars().take(80).collect(),
            })?;
        if let Some((index, found)) = digits
            .chars()
            .enumerate()
            .find(|(_, c)| !c.is_ascii_hexdigit())
        {
            return Err(DigestError::NotHex {
                found,
                position: index + 1,
            });
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| DigestError::Length {
            found: digits.len(),
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4, the one-block example.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_text_form_round_trips() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(Digest::of(b"abc")));
        let upper = format!("sha256:{}", ABC[7..].to_uppercase());
        assert_eq!(upper.parse(), Ok(Digest::of(b"abc")));
    }

    #[test]
    fn a_wrong_text_is_told_apart() {
        let bare = ABC[7..].parse::<Digest>().unwrap_err();
        assert!(matches!(bare, DigestError::Prefix { .. }), "{bare}");
        let short = ABC[..70].parse::<Digest>();
        assert_eq!(short, Err(DigestError::Length { found: 63 }));
        let odd = format!("{}g", &ABC[..70]).parse::<Digest>();
        assert_eq!(
            odd,
            Err(DigestError::NotHex {
                found: 'g',
                position: 64
            })
        );
    }
}
