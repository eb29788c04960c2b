//! Secrets at rest: named values for plugins, such as an upstream proxy's
//! password, encrypted under a key that the vault derives.

pub(crate) mod handed_over;
pub(crate) mod keys;
pub(crate) mod mnemonic_file;

mod error;
mod file;
mod grants;
mod seal;
mod value;

pub(crate) use error::SecretsError;
pub(crate) use file::SecretsFile;
pub(crate) use grants::{Granter, SecretSource};
pub(crate) use value::{MAX_VALUE, read_value};

/// The longest name, in characters.
const MAX_NAME: usize = 64;

/// Whether a secret can have this name: lower-case letters, digits and
/// `. _ -`, starting with a letter or digit, at most 64.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || "._-".contains(c))
}
