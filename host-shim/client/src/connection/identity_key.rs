//! The Ed25519 key that is shown in the TLS handshake, and `alknet
//! identity-key`, which prints its name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use alknet_quic::NodeSecret;
use alknet_ssh::PrivateKey;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::options::args::IdentityKeyArgs;

/// The most bytes of a file that are read: far more than a private key has.
const MAX_LENGTH: u64 = 64 * 1024;

/// `alknet identity-key`: prints what a key is called in a list of peers.
pub(crate) fn run(args: &IdentityKeyArgs) -> Result<(), Failure> {
    let key = read(&args.file)?;
    writeln!(io::stdout(), "{}", key.public()).map_err(Failure::stdio)
}

/// Reads the key to show in the handshake: an Ed25519 private key as
/// `ssh-keygen -t ed25519` writes it, without a passphrase.
pub(crate) fn read(path: &Path) -> Result<NodeSecret, IdentityKeyError> {
    let fault = |fault| IdentityKeyError {
        path: path.to_owned(),
        fault,
    };
    let text = read_private(path).map_err(fault)?;
    let key = PrivateKey::from_openssh(text.as_slice()).map_err(|_| fault(Fault::NotAKey))?;
    if key.is_encrypted() {
        return Err(fault(Fault::Encrypted));
    }
    let pair = key.key_data().ed25519();
    let pair = pair.ok_or_else(|| fault(Fault::NotEd25519))?;
    let seed = Zeroizing::new(pair.private.to_bytes());
    NodeSecret::from_seed(&seed).map_err(|_| fault(Fault::NotAKey))
}

/// Why a key file cannot be used for the handshake.
#[derive(Debug, thiserror::Error)]
#[error("the identity key {}: {fault}", path.display())]
pub(crate) struct IdentityKeyError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("can be read by others; take that away with `chmod 600`")]
    Mode,
    #[error(
        "is not a private key in OpenSSH's format; make one with `ssh-keygen -t ed25519 -N '' -f FILE`"
    )]
    NotAKey,
    #[error("has a passphrase, which cannot be asked for here; use a key of its own without one")]
    Encrypted,
    #[error("is not an Ed25519 key; make one with `ssh-keygen -t ed25519 -N '' -f FILE`")]
    NotEd25519,
}

fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Fault::Mode);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_LENGTH).read_to_end(&mut text)?;
    Ok(text)
}
