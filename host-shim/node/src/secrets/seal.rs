//! The encryption of one secret (ChaCha20-Poly1305, RFC 8439).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use alknet_handler::Secret;

/// The associated data of a value, followed by its name: it ties the value to
/// both, so that the values of two names cannot be exchanged in the file.
const CONTEXT: &str = "alknet secret v1: ";

/// A secret as it lies in the file: ChaCha20-Poly1305 (RFC 8439) with a random
/// nonce and the name as associated data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    /// The nonce, 12 bytes in base64.
    nonce: String,
    /// The ciphertext and its tag, in base64.
    value: String,
}

impl Sealed {
    /// Encrypts a value. `None` when the system gives no random bytes.
    pub(super) fn seal(key: &[u8; 32], name: &str, value: &Secret) -> Option<Self> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        // Room for the tag: growing would leave a copy of the value behind.
        let tag = CHACHA20_POLY1305.tag_len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(value.expose().len() + tag));
        sealed.extend_from_slice(value.expose());
        aead(key)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                associated(name),
                &mut *sealed,
            )
            .ok()?;
        Some(Self {
            nonce: BASE64_STANDARD.encode(nonce),
            value: BASE64_STANDARD.encode(&*sealed),
        })
    }

    /// Decrypts the value. `None` if it is not what was sealed under this key
    /// and name.
    pub(super) fn open(&self, key: &[u8; 32], name: &str) -> Option<Secret> {
        let nonce = BASE64_STANDARD.decode(&self.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut bytes = BASE64_STANDARD.decode(&self.value).ok()?;
        let opened = aead(key)?.open_in_place(nonce, associated(name), &mut bytes);
        let secret = opened.ok().map(|value| Secret::new(value.to_vec()));
        bytes.zeroize();
        secret
    }
}

fn aead(key: &[u8; 32]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
    Some(LessSafeKey::new(key))
}

fn associated(name: &str) -> Aad<String> {
    Aad::from(format!("{CONTEXT}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn sealed(name: &str, value: &[u8]) -> Sealed {
        Sealed::seal(&KEY, name, &Secret::new(value.to_vec())).unwrap()
    }

    #[test]
    fn what_was_sealed_comes_back_and_shows_nowhere() {
        let value = b"correct horse battery staple";
        let one = sealed("proxy", value);
        assert_eq!(one.open(&KEY, "proxy").unwrap().expose(), value);
        let shown = serde_json::to_string(&one).unwrap();
        assert!(!shown.contains("horse"));
        let bytes = BASE64_STANDARD.decode(&one.value).unwrap();
        assert!(!bytes.windows(5).any(|part| part == b"horse"));
        assert_ne!(one, sealed("proxy", value), "the nonce is random");
    }

    #[test]
    fn another_key_name_or_byte_opens_nothing() {
        let one = sealed("proxy", b"secret");
        assert!(one.open(&[8; 32], "proxy").is_none());
        assert!(one.open(&KEY, "other").is_none());
        let mut bytes = BASE64_STANDARD.decode(&one.value).unwrap();
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            let value = BASE64_STANDARD.encode(&bytes);
            let changed = Sealed {
                value,
                ..one.clone()
            };
            assert!(changed.open(&KEY, "proxy").is_none(), "byte {index}");
            bytes[index] ^= 1;
        }
        for (nonce, value) in [("", ""), ("AAAA", "AAAA"), ("!", "!"), (&one.nonce, "")] {
            let odd = Sealed {
                nonce: nonce.to_owned(),
                value: value.to_owned(),
            };
            assert!(odd.open(&KEY, "proxy").is_none());
        }
    }
}
