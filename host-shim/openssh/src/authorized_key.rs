//! One SSH public key as a line of a `.pub` or `authorized_keys` file
//! (sshd(8)).

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ssh_key::HashAlg;

use crate::key_blob::{self, BlobError};

/// The key types that can be authorised, best first.
const ALGORITHMS: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// An SSH public key, as a line of a `.pub` or `authorized_keys` file
/// (sshd(8), AUTHORIZED_KEYS FILE FORMAT) without options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The key's type, such as `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:` and the unpadded base64, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// What follows the key; may be empty.
    pub comment: String,
    /// The whole line, with single spaces between its parts.
    pub line: String,
}

impl FromStr for AuthorizedKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let line = line.trim();
        let (algorithm, rest) = split_word(line);
        check_algorithm(algorithm, line)?;
        let (base64, comment) = split_word(rest);
        if base64.is_empty() {
            return Err(KeyError::NoKey {
                algorithm: algorithm.to_owned(),
            });
        }
        if line.chars().any(char::is_control) {
            return Err(KeyError::ControlCharacter);
        }
        let blob = STANDARD.decode(base64).map_err(|_| KeyError::NotBase64)?;
        let key = key_blob::read(algorithm, &blob)?;

        let gap = if comment.is_empty() { "" } else { " " };
        Ok(Self {
            algorithm: algorithm.to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            comment: comment.to_owned(),
            line: format!("{algorithm} {base64}{gap}{comment}"),
        })
    }
}

fn check_algorithm(algorithm: &str, line: &str) -> Result<(), KeyError> {
    if ALGORITHMS.contains(&algorithm) {
        return Ok(());
    }
    let named = algorithm.to_owned();
    Err(if algorithm.is_empty() {
        KeyError::Empty
    } else if algorithm.starts_with("-----BEGIN") {
        KeyError::NotAPublicKey
    } else if algorithm.ends_with("-cert-v01@openssh.com") {
        KeyError::Certificate { algorithm: named }
    } else if is_security_key(algorithm) {
        KeyError::SecurityKey { algorithm: named }
    } else if algorithm == "ssh-dss" {
        KeyError::UnsupportedAlgorithm { algorithm: named }
    } else if let Some(options) = option_names(line) {
        KeyError::Options { options }
    } else {
        KeyError::UnknownAlgorithm
    })
}

fn is_security_key(algorithm: &str) -> bool {
    algorithm.starts_with("sk-ssh-") || algorithm.starts_with("sk-ecdsa-")
}

/// The names of the options in front of a key, if that is what the line is.
/// Their values may hold anything and are not repeated.
fn option_names(line: &str) -> Option<String> {
    let end = line.find(unquoted(char::is_whitespace))?;
    let (options, rest) = line.split_at_checked(end)?;
    let (algorithm, _) = split_word(rest.trim_start());
    if !ALGORITHMS.contains(&algorithm) && !is_security_key(algorithm) {
        return None;
    }
    let names: Vec<_> = options
        .split(unquoted(|c| c == ','))
        .map(|option| option.split_once('=').map_or(option, |(name, _)| name))
        .map(str::escape_debug)
        .map(|name| name.to_string())
        .collect();
    Some(names.join(", "))
}

/// A predicate that is true where `wanted` is, but not within double quotes,
/// where a backslash escapes.
fn unquoted(wanted: impl Fn(char) -> bool) -> impl FnMut(char) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    move |c| {
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        !quoted && wanted(c)
    }
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// Why a text is not an SSH public key that can be authorised. Never repeats the
/// text beyond a key type or an option's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("the key is empty; expected a line like `ssh-ed25519 AAAA… comment`")]
    Empty,
    /// It is a PEM file, most likely a private key.
    #[error(
        "this is a PEM block, most likely a private key; give the line of the .pub file instead"
    )]
    NotAPublicKey,
    /// The line does not start with a key type.
    #[error("the line does not start with a key type; give the whole line of a .pub file, which begins with one of {}", ALGORITHMS.join(", "))]
    UnknownAlgorithm,
    /// The key type is known but not accepted.
    #[error("{algorithm} keys are not accepted; use one of {}", ALGORITHMS.join(", "))]
    UnsupportedAlgorithm {
        /// The key's type.
        algorithm: String,
    },
    /// It is a FIDO key, whose presence flag cannot be enforced yet.
    #[error("{algorithm} (FIDO security key) is not supported yet; use an ssh-ed25519 key")]
    SecurityKey {
        /// The key's type.
        algorithm: String,
    },
    /// It is a certificate.
    #[error("{algorithm} is a certificate; list the plain public key instead")]
    Certificate {
        /// The certificate's type.
        algorithm: String,
    },
    /// Options stand in front of the key. Dropping them would grant more than
    /// they meant to.
    #[error(
        "options in front of a key are not supported ({options}); remove them and say by scopes \
         what the peer may do"
    )]
    Options {
        /// The names of the options.
        options: String,
    },
    /// The key type is there, the key is not.
    #[error("nothing follows `{algorithm}`; expected the base64 text of the key")]
    NoKey {
        /// The key's type.
        algorithm: String,
    },
    /// There is more than one line, or some other control character.
    #[error("the key must be one line without control characters")]
    ControlCharacter,
    /// The key is not base64; most likely some of it is missing.
    #[error(
        "the key is not valid base64; it may have been cut off or wrapped: copy the whole line again"
    )]
    NotBase64,
    /// The base64 holds no such key.
    #[error(transparent)]
    Blob(#[from] BlobError),
}
