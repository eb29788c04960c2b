//! Private key files in OpenSSH's format (PROTOCOL.key of OpenSSH).

use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{Error, HashAlg, LineEnding, PrivateKey, PublicKey, encoding};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// A private key as `ssh-keygen` writes it to a file. Its public half is there
/// in the clear, whether the file has a passphrase or not.
pub struct PrivateKeyFile {
    key: PrivateKey,
    public_line: String,
}

impl PrivateKeyFile {
    /// Reads the text of a file. What stands behind the key is not read.
    ///
    /// # Errors
    /// When it is not one whole private key.
    pub fn parse(text: &[u8]) -> Result<Self, PrivateKeyError> {
        let text = std::str::from_utf8(text).map_err(|_| PrivateKeyError::NotText)?;
        let text = text.trim_start();
        if !text.starts_with(BEGIN) {
            return Err(PrivateKeyError::NotOpenSsh);
        }
        let end = text.find(END).ok_or(PrivateKeyError::Damaged)?;
        let armoured = text.get(..end + END.len()).unwrap_or_default();
        let key = PrivateKey::from_openssh(armoured).map_err(|error| match error {
            Error::Encoding(encoding::Error::Base64(_) | encoding::Error::Pem(_)) => {
                PrivateKeyError::Base64
            }
            _ => PrivateKeyError::Damaged,
        })?;
        let public = PublicKey::from(key.public_key().key_data().clone());
        let public_line = public.to_openssh().map_err(|_| PrivateKeyError::Damaged)?;
        Ok(Self { key, public_line })
    }

    /// Whether a passphrase is needed to use it.
    pub fn is_encrypted(&self) -> bool {
        self.key.is_encrypted()
    }

    /// The public half as a line: its type and its base64.
    pub fn public_line(&self) -> &str {
        &self.public_line
    }

    /// The fingerprint of the public half, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The 32 secret bytes of RFC 8032 section 5.1.5. `None` where it is
    /// encrypted or not an Ed25519 key.
    pub fn ed25519_seed(&self) -> Option<Zeroizing<[u8; 32]>> {
        let pair = self.key.key_data().ed25519()?;
        Some(Zeroizing::new(pair.private.to_bytes()))
    }
}

/// Why a text is not a private key. Never repeats any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// It is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// It is something else, perhaps a key in PEM.
    #[error("it is not a private key in OpenSSH's format")]
    NotOpenSsh,
    /// What is between the first and the last line cannot be decoded.
    #[error("its base64 is damaged")]
    Base64,
    /// What was decoded is not one whole key.
    #[error("it is damaged or cut short, or does not hold exactly one key")]
    Damaged,
    /// A passphrase would be needed to use it.
    #[error("it is encrypted")]
    Encrypted,
}

/// An Ed25519 key pair (RFC 8032) as OpenSSH keeps it in two files. The same
/// key and comment give the same files.
pub struct Ed25519KeyFiles {
    private: Zeroizing<String>,
    public_line: String,
}

impl Ed25519KeyFiles {
    /// The files of the key pair of `seed` and `public`, each 32 bytes. Control
    /// characters in the comment are left out.
    ///
    /// # Errors
    /// When the comment is far too long for the format.
    pub fn new(seed: &[u8; 32], public: &[u8; 32], comment: &str) -> Result<Self, KeyWriteError> {
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(*public),
            private: Ed25519PrivateKey::from_bytes(seed),
        };
        let key = PrivateKey::new(KeypairData::from(pair), comment)?;
        Ok(Self {
            private: key.to_openssh(LineEnding::LF)?,
            public_line: key.public_key().to_openssh()?,
        })
    }

    /// The private key file, not encrypted (PROTOCOL.key of OpenSSH).
    pub fn private(&self) -> &str {
        &self.private
    }

    /// The line of the `.pub` file, without a line end.
    pub fn public_line(&self) -> &str {
        &self.public_line
    }
}

/// A key cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the key in OpenSSH's format: {0}")]
pub struct KeyWriteError(#[from] Error);
