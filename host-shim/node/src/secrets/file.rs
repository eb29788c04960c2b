//! The file of encrypted secrets, which only its owner may read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use alknet_handler::Secret;
use alknet_openssh::{PrivateFile, PrivateFileError};
use serde::{Deserialize, Serialize};

use super::error::SecretsError;
use super::is_name;
use super::seal::Sealed;
use crate::state::lock_dir;
use crate::state::replace_file;

const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// The file that holds a node's secrets.
#[derive(Clone, Debug)]
pub(crate) struct SecretsFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    secrets: BTreeMap<String, Sealed>,
}

impl SecretsFile {
    /// The file at `path`, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all secrets, sorted. Reading them needs no key.
    pub(crate) fn names(&self) -> Result<Vec<String>, SecretsError> {
        Ok(self.read()?.secrets.into_keys().collect())
    }

    /// The value of one secret.
    pub(crate) fn get(&self, key: &[u8; 32], name: &str) -> Result<Secret, SecretsError> {
        let contents = self.read()?;
        let sealed = contents
            .secrets
            .get(name)
            .ok_or_else(|| self.unknown(name))?;
        sealed
            .open(key, name)
            .ok_or_else(|| self.undecipherable(name))
    }

    /// Fails unless a secret with this name is stored. Needs no key.
    pub(crate) fn expect(&self, name: &str) -> Result<(), SecretsError> {
        if self.read()?.secrets.contains_key(name) {
            Ok(())
        } else {
            Err(self.unknown(name))
        }
    }

    /// Stores a secret, in place of one of that name. Returns whether there was
    /// one. The others must be encrypted under the same key: a file of two keys
    /// would be of no use to either.
    pub(crate) fn set(
        &self,
        key: &[u8; 32],
        name: &str,
        value: &Secret,
    ) -> Result<bool, SecretsError> {
        let sealed = Sealed::seal(key, name, value).ok_or(SecretsError::Random)?;
        self.change(|contents| {
            for (other, sealed) in &contents.secrets {
                if other != name && sealed.open(key, other).is_none() {
                    return Err(self.undecipherable(other));
                }
            }
            Ok(contents.secrets.insert(name.to_owned(), sealed).is_some())
        })
    }

    /// Removes a secret. Needs no key.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SecretsError> {
        self.change(|contents| {
            contents
                .secrets
                .remove(name)
                .map(drop)
                .ok_or_else(|| self.unknown(name))
        })
    }

    fn unknown(&self, name: &str) -> SecretsError {
        SecretsError::Unknown {
            file: self.path.clone(),
            name: name.to_owned(),
        }
    }

    fn undecipherable(&self, name: &str) -> SecretsError {
        SecretsError::Undecipherable {
            file: self.path.clone(),
            name: name.to_owned(),
        }
    }

    fn read(&self) -> Result<Contents, SecretsError> {
        let rules = PrivateFile {
            any_owner: true,
            ..PrivateFile::default()
        };
        let text = match rules.read(&self.path, MAX_FILE) {
            Err(PrivateFileError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Contents {
                    version: VERSION,
                    secrets: BTreeMap::new(),
                });
            }
            read => read?,
        };
        self.parse(&text)
    }

    fn parse(&self, text: &[u8]) -> Result<Contents, SecretsError> {
        let damaged = |problem: String| SecretsError::Damaged {
            file: self.path.clone(),
            problem,
        };
        let contents: Contents =
            serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if contents.version != VERSION {
            return Err(damaged(format!(
                "it is of version {}, this program reads {VERSION}",
                contents.version
            )));
        }
        match contents.secrets.keys().find(|name| !is_name(name)) {
            Some(name) => Err(damaged(format!("{name:?} is not a secret's name"))),
            None => Ok(contents),
        }
    }

    /// Reads, changes and writes the file, under a lock.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T, SecretsError>,
    ) -> Result<T, SecretsError> {
        let failed = |source| SecretsError::Write {
            file: self.path.clone(),
            source,
        };
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let lock = lock_dir(dir).map_err(failed)?;
        let mut contents = self.read()?;
        let outcome = change(&mut contents)?;
        self.write(&contents).map_err(failed)?;
        // The new name must be on the disk as well.
        lock.sync_all().map_err(failed)?;
        Ok(outcome)
    }

    fn write(&self, contents: &Contents) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(contents)?;
        text.push(b'\n');
        // The lock is ours.
        replace_file::put(&self.path, 0o600, &text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn file() -> (tempfile::TempDir, SecretsFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = SecretsFile::new(dir.path().join("secrets.json"));
        (dir, file)
    }

    fn secret(value: &str) -> Secret {
        Secret::new(value.into())
    }

    #[test]
    fn secrets_are_kept_replaced_and_forgotten() {
        let (_dir, file) = file();
        assert!(file.names().unwrap().is_empty());
        assert!(!file.set(&KEY, "proxy", &secret("one")).unwrap());
        assert!(!file.set(&KEY, "a.b", &secret("other")).unwrap());
        assert!(file.set(&KEY, "proxy", &secret("two")).unwrap());
        assert_eq!(file.names().unwrap(), ["a.b", "proxy"]);
        assert_eq!(file.get(&KEY, "proxy").unwrap().expose(), b"two");
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.remove("proxy").unwrap();
        assert_eq!(file.names().unwrap(), ["a.b"]);
        let error = file.remove("proxy").unwrap_err().to_string();
        assert!(error.contains("no secret \"proxy\""), "{error}");
        assert!(file.get(&KEY, "proxy").is_err());
    }

    #[test]
    fn another_mnemonics_file_is_named_and_left_alone() {
        let (_dir, file) = file();
        file.set(&KEY, "proxy", &secret("one")).unwrap();
        let other = [8; 32];
        let error = file.get(&other, "proxy").unwrap_err().to_string();
        for part in ["secrets.json", "another mnemonic", "secret set proxy"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(file.set(&other, "second", &secret("x")).is_err());
        assert_eq!(file.names().unwrap(), ["proxy"]);
        // Only what stays has to fit.
        assert!(file.set(&other, "proxy", &secret("x")).unwrap());
    }

    #[test]
    fn a_damaged_or_open_file_is_named_with_the_remedy() {
        let (_dir, file) = file();
        file.set(&KEY, "proxy", &secret("one")).unwrap();
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(file.path(), open).unwrap();
        let error = file.names().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            "",
            "{}",
            "{\"version\": 2, \"secrets\": {}}",
            "{\"version\": 1, \"secrets\": {\"X\": {\"nonce\": \"\", \"value\": \"\"}}}",
            "{\"version\": 1, \"secrets\": {\"x\": \"plain\"}}",
        ] {
            fs::write(file.path(), text).unwrap();
            let error = file.names().unwrap_err().to_string();
            assert!(error.contains("secrets.json"), "{error}");
            assert!(file.set(&KEY, "x", &secret("y")).is_err());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
        }
    }
}
