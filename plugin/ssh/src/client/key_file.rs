//! Private key files and their passphrases, as `ssh-keygen` makes them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alknet_handler::BoxFuture;
use alknet_openssh::Access;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

/// Asks whoever sits at the terminal for a passphrase.
pub trait AskPassphrase: Send + Sync {
    /// The answer to `question`; `None` where nobody can be asked.
    fn ask<'a>(&'a self, question: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>>;
}

/// A key to log in with, from a file as `ssh-keygen` makes it, and the
/// certificate beside it (`…-cert.pub`), if there is one.
///
/// An encrypted key is unlocked once, when a server has accepted it.
pub struct KeyFile {
    path: PathBuf,
    public: Option<PublicKey>,
    certificate: Option<Certificate>,
    secret: Secret,
}

enum Secret {
    /// The file holds a public key alone; an agent has the rest.
    Elsewhere,
    Encrypted(Zeroizing<String>),
    Plain(Arc<PrivateKey>),
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Others on this machine may read it.
    #[error("others may read it (mode {mode:04o}); do: chmod 600 {}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no key, or one of an unknown kind.
    #[error("is not a private key that can be understood")]
    NotUnderstood,
    /// The file beside it is not a certificate, or one of another key.
    #[error("the certificate {} cannot be understood or is of another key", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The key is encrypted, and nobody is there to ask for the passphrase.
    #[error(
        "is encrypted, and there is no terminal to ask for the passphrase on; add it to an agent with ssh-add first"
    )]
    NobodyToAsk,
    /// The passphrase was wrong, three times.
    #[error("is encrypted, and the passphrase was wrong")]
    WrongPassphrase,
    /// The file has the public half alone, and no agent has the other.
    #[error("holds a public key alone, and no agent has its private key")]
    PublicOnly,
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// When it, or the certificate beside it, cannot be used.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let metadata = std::fs::metadata(path).map_err(KeyFileError::Unreadable)?;
        let text = std::fs::read(path).map_err(KeyFileError::Unreadable)?;
        let text = String::from_utf8(text).map_err(|_| KeyFileError::NotUnderstood)?;
        let mut file = Self {
            path: path.to_owned(),
            public: None,
            certificate: None,
            secret: Secret::Elsewhere,
        };
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            file.public = Some(public);
        } else {
            let text = Zeroizing::new(text);
            let access = Access::of(&metadata);
            if !access.is_private() {
                return Err(KeyFileError::Exposed {
                    path: path.to_owned(),
                    mode: access.mode,
                });
            }
            file.understand(text)?;
        }
        file.certificate = certificate_beside(path, file.public.as_ref())?;
        Ok(file)
    }

    /// A key that is at hand already; `name` is what error messages call it.
    pub fn unlocked(name: &Path, key: Arc<PrivateKey>) -> Self {
        Self {
            path: name.to_owned(),
            public: Some(key.public_key().clone()),
            certificate: None,
            secret: Secret::Plain(key),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key, unless an old format hides it before the passphrase is
    /// given.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    /// The certificate beside it.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Whether a passphrase will be asked for.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.secret, Secret::Encrypted(_))
    }

    /// The private key; asks for the passphrase if need be.
    ///
    /// # Errors
    /// When nobody can be asked or the answers are wrong.
    pub async fn unlock(
        &mut self,
        ask: &dyn AskPassphrase,
    ) -> Result<Arc<PrivateKey>, KeyFileError> {
        let text = match &self.secret {
            Secret::Plain(key) => return Ok(Arc::clone(key)),
            Secret::Elsewhere => return Err(KeyFileError::PublicOnly),
            Secret::Encrypted(text) => text,
        };
        let question = format!("Enter passphrase for key '{}': ", self.path.display());
        for _ in 0..TRIES {
            let passphrase = ask.ask(&question).await.ok_or(KeyFileError::NobodyToAsk)?;
            if passphrase.is_empty() {
                break;
            }
            if let Ok(key) = decode_secret_key(text, Some(&passphrase)) {
                let key = Arc::new(key);
                self.public = Some(key.public_key().clone());
                self.secret = Secret::Plain(Arc::clone(&key));
                return Ok(key);
            }
        }
        Err(KeyFileError::WrongPassphrase)
    }

    fn understand(&mut self, text: Zeroizing<String>) -> Result<(), KeyFileError> {
        match PrivateKey::from_openssh(text.as_bytes()) {
            Ok(key) if matches!(key.key_data(), KeypairData::Encrypted(_)) => {
                self.public = Some(key.public_key().clone());
                self.secret = Secret::Encrypted(text);
            }
            Ok(key) => {
                self.public = Some(key.public_key().clone());
                self.secret = Secret::Plain(Arc::new(key));
            }
            Err(_) => match decode_secret_key(&text, None) {
                Ok(key) => {
                    self.public = Some(key.public_key().clone());
                    self.secret = Secret::Plain(Arc::new(key));
                }
                Err(russh::keys::Error::KeyIsEncrypted) => {
                    let beside = with_suffix(&self.path, ".pub");
                    let public = std::fs::read_to_string(beside).ok();
                    self.public = public.and_then(|text| PublicKey::from_openssh(text.trim()).ok());
                    self.secret = Secret::Encrypted(text);
                }
                Err(_) => return Err(KeyFileError::NotUnderstood),
            },
        }
        Ok(())
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The number of times that a passphrase is asked for, as in ssh.
const TRIES: usize = 3;

fn certificate_beside(
    path: &Path,
    public: Option<&PublicKey>,
) -> Result<Option<Certificate>, KeyFileError> {
    let stem = match path.to_str().and_then(|path| path.strip_suffix(".pub")) {
        Some(stem) => Path::new(stem),
        None => path,
    };
    let path = with_suffix(stem, "-cert.pub");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(None);
    };
    match Certificate::from_openssh(text.trim()) {
        Ok(certificate) if public.is_none_or(|key| key.key_data() == certificate.public_key()) => {
            Ok(Some(certificate))
        }
        _ => Err(KeyFileError::Certificate { path }),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
