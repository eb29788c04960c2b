//! Files of SSH public keys, read with a bound on their size.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{AuthorizedKey, KeyError};

/// The most bytes that are read of a file of public keys.
const MAX_LENGTH: u64 = 1024 * 1024;

/// Reads the keys of a `.pub` file or an `authorized_keys` file. Empty lines
/// and comment lines are skipped.
///
/// # Errors
/// When the file cannot be read, holds no key, or holds a line that is not a
/// key that can be authorised; options in front of a key are refused.
pub fn read_public_key_file(path: &Path) -> Result<Vec<AuthorizedKey>, KeyFileError> {
    let text = read_text(path)?;
    let keys = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(index, line)| {
            line.parse().map_err(|source| KeyFileError::Line {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(KeyFileError::NoKeys {
            path: path.to_owned(),
        });
    }
    Ok(keys)
}

/// Reads a file of public keys as text.
///
/// # Errors
/// When it cannot be read, is not UTF-8 or far too large.
pub fn read_text(path: &Path) -> Result<String, KeyFileError> {
    let fail = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let path = path.to_owned();
    let mut text = String::new();
    let file = File::open(&path).map_err(fail)?;
    match file.take(MAX_LENGTH + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 > MAX_LENGTH => Err(KeyFileError::TooLarge { path }),
        Ok(_) => Ok(text),
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            Err(KeyFileError::NotText { path })
        }
        Err(source) => Err(fail(source)),
    }
}

/// Why no keys could be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system would not open or read it.
    #[error("cannot read the public key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is far too large.
    #[error("{} is larger than 1 MiB and so no public key file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("{} is not a text file (UTF-8); name an OpenSSH .pub file", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It holds no key.
    #[error("{} holds no key; expected a line like `ssh-ed25519 AAAA… comment`", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// One of its lines is not a key that can be authorised.
    #[error("{}:{line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: KeyError,
    },
}
