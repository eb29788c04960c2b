//! OpenSSH's formats, each read and written in one place.
//!
//! What is in keys themselves comes from the crate `ssh-key`, which russh
//! uses as well; this crate adds what OpenSSH puts around them, and messages
//! that tell an operator what to do.

#![forbid(unsafe_code)]

mod agent;
mod authorized_key;
mod key_blob;
mod key_options;
mod private_file;
mod private_key;
mod public_key_file;
mod ssh_config;

pub use agent::agent_keys;
pub use authorized_key::{AuthorizedKey, KeyError};
pub use key_blob::BlobError;
pub use key_options::{KeyOption, OptionsError, split_options};
pub use private_file::{Access, PrivateFile, PrivateFileError};
pub use private_key::{Ed25519KeyFiles, KeyWriteError, PrivateKeyError, PrivateKeyFile};
pub use public_key_file::{KeyFileError, read_public_key_file, read_text};
pub use ssh_config::{Stanza, StanzaError};
