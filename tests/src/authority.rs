//! A certificate authority that signs user certificates with `ssh-keygen`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Run, TestKey};

/// A certificate authority, as `ssh-keygen` makes it.
pub struct TestAuthority {
    folder: PathBuf,
    /// The private key file.
    pub file: PathBuf,
}

impl TestAuthority {
    /// Makes one with a key of that type (`ed25519`, `ecdsa`, `rsa`).
    pub fn make(folder: &Path, name: &str, kind: &str) -> Self {
        let file = folder.join(name);
        keygen(&["-q", "-N", "", "-C", name, "-t", kind, "-f"], &file);
        Self {
            folder: folder.to_owned(),
            file,
        }
    }

    /// One that signs with a key that is there already.
    pub fn with_key(key: &TestKey) -> Self {
        Self {
            folder: key.file.parent().unwrap().to_owned(),
            file: key.file.clone(),
        }
    }

    /// The public key as a line.
    pub fn public_line(&self) -> String {
        let text = fs::read_to_string(self.file.with_extension("pub")).unwrap();
        text.trim().to_owned()
    }

    /// Certifies a public key; gives the certificate's file.
    pub fn sign(&self, name: &str, key: &Path, args: &[&str]) -> PathBuf {
        // ssh would find a certificate beside its key without being told.
        let copy = self.folder.join(format!("{name}.pub"));
        if key != copy {
            fs::copy(key, &copy).unwrap();
        }
        Run::new("ssh-keygen")
            .args(["-q", "-I", name])
            .args(args)
            .arg("-s")
            .arg(&self.file)
            .arg(&copy)
            .output();
        let made = self.folder.join(format!("{name}-cert.pub"));
        let certificate = self.folder.join(format!("{name}.cert"));
        fs::rename(made, &certificate).unwrap();
        certificate
    }
}

fn keygen(args: &[&str], file: &Path) {
    Run::new("ssh-keygen").args(args).arg(file).output();
}
