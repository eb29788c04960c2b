//! Signatures of libraries, as `ssh-keygen -Y sign` makes them (PROTOCOL.sshsig
//! of OpenSSH).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};

use crate::digest::Hashes;
use crate::refusal::Refusal;

/// The namespace that a signature must have: `ssh-keygen -Y sign -n alknet-plugin`.
pub const NAMESPACE: &str = "alknet-plugin";

/// The most bytes of a signature that are read: more than any has.
pub(crate) const MAX_SIZE: u64 = 16 << 10;

/// A public key whose signatures of libraries are believed: an Ed25519 key as
/// in a `.pub` file, `ssh-ed25519 AAAA… comment`.
#[derive(Clone, PartialEq, Eq)]
pub struct Signer(Arc<PublicKey>);

/// Why a text is not a [`Signer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// It is not a line of a `.pub` file.
    #[error(
        "is not an SSH public key ({problem}); give the one line of the signer's .pub file, \"ssh-ed25519 AAAA… comment\""
    )]
    NotAKey {
        /// What is wrong with it.
        problem: String,
    },
    /// A key of another type.
    #[error(
        "is a key of type {found}; only ssh-ed25519 keys can sign plugins: make one with `ssh-keygen -t ed25519`"
    )]
    Type {
        /// The type.
        found: String,
    },
}

impl FromStr for Signer {
    type Err = SignerError;

    fn from_str(line: &str) -> Result<Self, SignerError> {
        let key = PublicKey::from_openssh(line.trim()).map_err(|error| SignerError::NotAKey {
            problem: error.to_string(),
        })?;
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(Arc::new(key))),
            other => Err(SignerError::Type {
                found: other.to_string(),
            }),
        }
    }
}

/// Writes the fingerprint as `ssh-keygen -l` prints it, `SHA256:…`, and the
/// comment.
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.fingerprint(HashAlg::Sha256))?;
        let comment = self.0.comment().as_str_lossy();
        if comment.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", comment.escape_debug())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the signature of a library lies: beside it, `.sig` added to its name.
pub fn signature_path(library: &Path) -> PathBuf {
    let mut name = library.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Finds which of `signers` made `signature` of what has these hashes. `path` is for the
/// message only.
pub(crate) fn check(
    path: &Path,
    hashes: &Hashes,
    signature: &[u8],
    signers: &[Signer],
) -> Result<Signer, Refusal> {
    let signature = SshSig::from_pem(signature).map_err(|error| Refusal::SignatureDamaged {
        path: path.to_owned(),
        signature: signature_path(path),
        problem: error.to_string(),
    })?;
    if signature.namespace() != NAMESPACE {
        return Err(Refusal::SignatureNamespace {
            path: path.to_owned(),
            found: signature.namespace().to_owned(),
            expected: NAMESPACE,
        });
    }
    let signer = signers
        .iter()
        .find(|signer| signer.0.key_data() == signature.public_key());
    let Some(signer) = signer else {
        let key = PublicKey::from(signature.public_key().clone());
        return Err(Refusal::UnknownSigner {
            path: path.to_owned(),
            found: key.fingerprint(HashAlg::Sha256).to_string(),
            expected: signers.to_vec(),
        });
    };
    let is_right = |prehash: Vec<u8>| {
        let verified = signer.0.verify_prehash(NAMESPACE, &prehash, &signature);
        verified.is_ok()
    };
    match hashes.prehash(signature.hash_alg()).is_some_and(is_right) {
        true => Ok(signer.clone()),
        false => Err(Refusal::SignatureWrong {
            path: path.to_owned(),
            signer: signer.clone(),
        }),
    }
}
