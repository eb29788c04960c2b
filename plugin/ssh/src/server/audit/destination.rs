//! The destinations of forwards as the audit stream shows them: not at all,
//! hashed, or in clear.

use std::fmt;

use alknet_handler::{Capabilities, ConfigError};
use alknet_ssh_config::{Audit as Config, Destinations};
use ring::hmac;

use crate::server::secret::granted;

/// The fewest bytes a key may have, so that nobody can try all keys.
const SHORTEST_KEY: usize = 16;
/// The bytes of a hash that are shown; enough that no two destinations collide.
const SHOWN: usize = 16;

/// The form in which destinations are recorded.
pub(super) enum Masking {
    Off,
    Hashed(hmac::Key),
    Full,
}

impl Masking {
    pub(super) fn new(config: &Config, capabilities: &Capabilities) -> Result<Self, ConfigError> {
        match config.destinations {
            Destinations::Off => Ok(Self::Off),
            Destinations::Full => Ok(Self::Full),
            // Without a file nothing is hashed.
            Destinations::Hashed if config.file.is_none() => Ok(Self::Off),
            Destinations::Hashed => {
                key(config.hash_key.as_deref().unwrap_or_default(), capabilities).map(Self::Hashed)
            }
        }
    }

    pub(super) fn mask(&self, clear: &dyn Fn() -> String) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Full => Some(clear()),
            Self::Hashed(key) => {
                let tag = hmac::sign(key, clear().as_bytes());
                let shown = tag.as_ref().iter().take(SHOWN);
                let hex: String = shown.map(|byte| format!("{byte:02x}")).collect();
                Some(format!("hmac-sha256:{hex}"))
            }
        }
    }
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Hashed(_) => "Hashed",
            Self::Full => "Full",
        })
    }
}

fn key(name: &str, capabilities: &Capabilities) -> Result<hmac::Key, ConfigError> {
    let pointer = "/audit/hash_key";
    let bytes = granted(capabilities, name, pointer)?.expose();
    let fault = |message: String| ConfigError {
        pointer: pointer.to_owned(),
        message,
    };
    if bytes.len() < SHORTEST_KEY {
        return Err(fault(format!(
            "the secret {name:?} has {} bytes; a key that cannot be guessed has at least {SHORTEST_KEY}: store it again, as in `openssl rand -hex 32 | alknet-node secret set {name}`",
            bytes.len()
        )));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use alknet_handler::Secret;

    use super::*;

    fn hashed(key: &str) -> Result<Masking, ConfigError> {
        let secret = Secret::new(key.as_bytes().to_vec());
        let config = Config {
            file: Some("/audit".to_owned()),
            destinations: Destinations::Hashed,
            hash_key: Some("audit".to_owned()),
        };
        Masking::new(
            &config,
            &[("audit".to_owned(), secret)].into_iter().collect(),
        )
    }

    #[test]
    fn a_hash_is_the_same_for_the_same_destination_and_key() {
        let one = hashed("0123456789abcdef").unwrap();
        let other = hashed("0123456789abcdeF").unwrap();
        let db = || "db.internal:5432".to_owned();
        let hash = one.mask(&db).unwrap();
        assert_eq!(hash.len(), "hmac-sha256:".len() + 32);
        assert_eq!(Some(&hash), one.mask(&db).as_ref());
        assert_ne!(
            Some(&hash),
            one.mask(&|| "db.internal:5433".to_owned()).as_ref()
        );
        assert_ne!(Some(&hash), other.mask(&db).as_ref());
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        let error = hashed("hunter2").unwrap_err();
        assert_eq!(error.pointer, "/audit/hash_key");
        assert!(error.message.contains("has 7 bytes"), "{}", error.message);
        assert!(!error.message.contains("hunter2"));
    }
}
