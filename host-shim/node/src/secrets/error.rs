//! The errors of reading and keeping secrets; none of them shows a value.

use std::io;
use std::path::PathBuf;

use alknet_openssh::PrivateFileError;

use super::MAX_NAME;
use super::value::MAX_VALUE;

/// Why a secret cannot be read or stored. No message shows a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    /// The name cannot be a secret's name.
    #[error(
        "{name:?} cannot be a secret's name: use lower-case letters, digits and `. _ -`, starting with a letter or digit, at most {MAX_NAME}"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The value is empty.
    #[error("the value is empty; write it to standard input")]
    Empty,
    /// The value is too long.
    #[error("the value is longer than {MAX_VALUE} bytes")]
    TooLong,
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; nothing was changed")]
    Interrupted,
    /// The value could not be read.
    #[error("cannot read the value from standard input: {0}")]
    Input(io::Error),
    /// No secret with this name is stored.
    #[error("{} holds no secret {name:?}", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// The monitor did not hand the secret over when it started the node.
    #[error(
        "the secret {name:?} was not stored, or not granted to a plugin, when the node started, and only the monitor can read secrets; store it with `alknet-node secret set {name}` if it is not, and restart the node"
    )]
    NotHandedOver {
        /// The name.
        name: String,
    },
    /// The secret was not encrypted under this node's key, or was changed.
    #[error(
        "{}: the secret {name:?} cannot be decrypted: the file was changed, or belongs to another mnemonic or passphrase. Bring back the right file or mnemonic, or store the secret again: `alknet-node secret remove {name}`, then `alknet-node secret set {name}`",
        file.display()
    )]
    Undecipherable {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to encrypt with")]
    Random,
    /// The file is not a secrets file of this version.
    #[error(
        "{} is not a secrets file of this version: {problem}; bring back a copy, or remove it and store the secrets again with `alknet-node secret set`",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read, or others may read or change it.
    #[error("{0}")]
    File(#[from] PrivateFileError),
    /// The system would not write the file.
    #[error("cannot write {}: {source}; it is as it was", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
