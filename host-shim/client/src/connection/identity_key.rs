//! The Ed25519 key that is shown in the TLS handshake, and `alknet
//! identity-key`, which prints its name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use alknet_openssh::{PrivateFile, PrivateFileError, PrivateKeyFile};
use alknet_quic::NodeSecret;

use crate::failure::Failure;
use crate::options::args::IdentityKeyArgs;

/// The most bytes of a file that are read: far more than a private key has.
const MAX_LENGTH: usize = 64 * 1024;

/// `alknet identity-key`: prints what a key is called in a list of peers.
pub(crate) fn run(args: &IdentityKeyArgs) -> Result<(), Failure> {
    let key = read(&args.file)?;
    writeln!(io::stdout(), "{}", key.public()).map_err(Failure::stdio)
}

/// Reads the key to show in the handshake: an Ed25519 private key as
/// `ssh-keygen -t ed25519` writes it, without a passphrase.
pub(crate) fn read(path: &Path) -> Result<NodeSecret, IdentityKeyError> {
    let unusable = |fault| IdentityKeyError::Unusable {
        path: path.to_owned(),
        fault,
    };
    let rules = PrivateFile {
        follow_links: true,
        any_owner: true,
    };
    let text = rules.read(path, MAX_LENGTH)?;
    let key = PrivateKeyFile::parse(&text).map_err(|_| unusable(Fault::NotAKey))?;
    if key.is_encrypted() {
        return Err(unusable(Fault::Encrypted));
    }
    let seed = key.ed25519_seed();
    let seed = seed.ok_or_else(|| unusable(Fault::NotEd25519))?;
    NodeSecret::from_seed(&seed).map_err(|_| unusable(Fault::NotAKey))
}

/// Why a key file cannot be used for the handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityKeyError {
    #[error("the identity key: {0}")]
    File(#[from] PrivateFileError),
    #[error("the identity key {}: {fault}", path.display())]
    Unusable { path: PathBuf, fault: Fault },
}

/// What is wrong with the contents of a key file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "is not a private key in OpenSSH's format; make one with `ssh-keygen -t ed25519 -N '' -f FILE`"
    )]
    NotAKey,
    #[error("has a passphrase, which cannot be asked for here; use a key of its own without one")]
    Encrypted,
    #[error("is not an Ed25519 key; make one with `ssh-keygen -t ed25519 -N '' -f FILE`")]
    NotEd25519,
}
