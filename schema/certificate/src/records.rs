//! The directory of an authority: the serial numbers, what was signed and what is
//! revoked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{Authority, HostTerms, Revocations, UserTerms};

/// What was signed, one JSON object a line.
const ISSUED: &str = "issued.jsonl";
/// What is revoked, as JSON.
const REVOKED: &str = "revoked.json";
/// What is revoked, as a list for servers.
const LIST: &str = "revoked.krl";
/// More bytes than a line of the record has.
const LONGEST_LINE: u64 = 256 * 1024;

/// The directory in which an authority keeps its records. Several processes may use
/// it at once.
#[derive(Clone, Debug)]
pub struct Records {
    directory: PathBuf,
}

/// A certificate that was signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its number.
    pub serial: u64,
    /// When it was signed, in seconds since 1970.
    pub at: u64,
    /// Whether it is for a host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// Who it is for, as logs name it.
    pub key_id: String,
    /// The names it is valid for.
    pub principals: Vec<String>,
    /// The scopes it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The accounts it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    /// The second from which it is valid no more, since 1970.
    pub before: u64,
    /// The public key, as a line.
    pub key: String,
    /// Who had it signed: `operator`, or the address of the peer that asked.
    pub by: String,
}

impl Issued {
    /// The record of a user certificate that `by` has signed for a key; number and
    /// time are filled in when it is issued.
    pub fn for_user(terms: &UserTerms, key: &str, by: impl Into<String>) -> Self {
        Self {
            key_id: terms.key_id.clone(),
            principals: terms.principals.clone(),
            scopes: terms.scopes.clone(),
            accounts: terms.accounts.clone(),
            before: terms.validity.before,
            key: key.to_owned(),
            by: by.into(),
            ..Self::default()
        }
    }

    /// The same of a host certificate.
    pub fn for_host(terms: &HostTerms, key: &str, by: impl Into<String>) -> Self {
        Self {
            host: true,
            key_id: terms.key_id.clone(),
            principals: terms.names.clone(),
            before: terms.validity.before,
            key: key.to_owned(),
            by: by.into(),
            ..Self::default()
        }
    }
}

impl Records {
    /// The records in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The file with the key revocation list.
    pub fn list_file(&self) -> PathBuf {
        self.directory.join(LIST)
    }

    /// Fails unless there is a directory that can be written to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), RecordsError> {
        self.lock().map(drop)
    }

    /// Has a certificate signed with the next serial number, and writes down that it
    /// was before it is given out. Gives what `sign` made.
    ///
    /// # Errors
    /// What `sign` says, or that the record cannot be written: then there is no
    /// certificate.
    pub fn issue<E: From<RecordsError>>(
        &self,
        sign: impl FnOnce(u64) -> Result<(String, Issued), E>,
    ) -> Result<String, E> {
        let mut file = self.lock()?;
        let serial = self.last_serial()?.saturating_add(1);
        let (certificate, mut issued) = sign(serial)?;
        issued.serial = serial;
        issued.at = now();
        let failed = |source| RecordsError::io(&self.directory.join(ISSUED), source);
        let mut line = serde_json::to_vec(&issued).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        file.write_all(&line)
            .and_then(|()| file.sync_data())
            .map_err(failed)?;
        Ok(certificate)
    }

    /// The number of the last line.
    fn last_serial(&self) -> Result<u64, RecordsError> {
        let path = self.directory.join(ISSUED);
        let read = || {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().map_err(|error| RecordsError::io(&path, error))?;
        let tail = tail.strip_suffix(b"\n").unwrap_or(&tail);
        let last = tail.rsplit(|byte| *byte == b'\n').next();
        let Some(last) = last.filter(|last| !last.is_empty()) else {
            return Ok(0);
        };
        match serde_json::from_slice::<Issued>(last) {
            Ok(issued) => Ok(issued.serial),
            // Reading it all says which line is wrong.
            Err(_) => Ok(self.issued()?.last().map_or(0, |issued| issued.serial)),
        }
    }

    /// All that was signed, the oldest first.
    ///
    /// # Errors
    /// When the record cannot be read, or a line of it is not one.
    pub fn issued(&self) -> Result<Vec<Issued>, RecordsError> {
        let path = self.directory.join(ISSUED);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RecordsError::io(&path, error)),
        };
        let mut all = Vec::new();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| RecordsError::io(&path, error))?;
            let issued = serde_json::from_str(&line).map_err(|error| RecordsError::Damaged {
                path: path.clone(),
                line: index + 1,
                problem: error.to_string(),
            })?;
            all.push(issued);
        }
        Ok(all)
    }

    /// What is revoked.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn revocations(&self) -> Result<Revocations, RecordsError> {
        let path = self.directory.join(REVOKED);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Revocations::default());
            }
            Err(error) => return Err(RecordsError::io(&path, error)),
        };
        serde_json::from_str(&text).map_err(|error| RecordsError::Damaged {
            line: error.line(),
            problem: error.to_string(),
            path,
        })
    }

    /// Revokes more, and writes the list. Without a change the list is only
    /// written.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn revoke(
        &self,
        authority: &Authority,
        change: impl FnOnce(&mut Revocations),
    ) -> Result<Revocations, RecordsError> {
        let _lock = self.lock()?;
        let before = self.revocations()?;
        let mut revocations = before.clone();
        change(&mut revocations);
        if revocations != before {
            revocations.number = before.number.saturating_add(1);
        }
        let path = self.directory.join(REVOKED);
        let mut text = serde_json::to_vec_pretty(&revocations)
            .map_err(|error| RecordsError::io(&path, error.into()))?;
        text.push(b'\n');
        self.put(REVOKED, &text)?;
        self.put(LIST, &revocations.to_krl(authority, now()))?;
        Ok(revocations)
    }

    /// The record of what was signed, opened to add to it and locked.
    fn lock(&self) -> Result<File, RecordsError> {
        let path = self.directory.join(ISSUED);
        let open = || {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o600).open(&path)?;
            self.give(&file)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        open().map_err(|error| RecordsError::io(&path, error))
    }

    /// Puts contents in the place of a file at once.
    fn put(&self, name: &str, contents: &[u8]) -> Result<(), RecordsError> {
        let path = self.directory.join(name);
        let fresh = self.directory.join(format!("{name}.new"));
        let write = || {
            let _ = fs::remove_file(&fresh);
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            self.give(&file)?;
            file.write_all(contents)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error| RecordsError::io(&path, error))
    }

    /// Gives a file to the owner of the directory, where root makes it: the node
    /// may run as somebody else.
    fn give(&self, file: &File) -> io::Result<()> {
        let directory = fs::metadata(&self.directory)?;
        let own = file.metadata()?;
        if own.uid() != directory.uid() && rustix::process::geteuid().is_root() {
            fchown(file, Some(directory.uid()), Some(directory.gid()))?;
        }
        Ok(())
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Why the records of an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}:{line}: this is not a record of an authority: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl RecordsError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::authority;

    fn issue(records: &Records) -> u64 {
        let mut number = 0;
        let issued = records.issue::<RecordsError>(|serial| {
            number = serial;
            Ok(("certificate".to_owned(), Issued::default()))
        });
        assert_eq!(issued.unwrap(), "certificate");
        number
    }

    #[test]
    fn serials_count_up_and_what_was_signed_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        assert_eq!((issue(&records), issue(&records)), (1, 2));
        let refused = records.issue::<RecordsError>(|_| {
            Err(RecordsError::io(
                Path::new("x"),
                io::ErrorKind::Other.into(),
            ))
        });
        assert!(refused.is_err());
        assert_eq!(issue(&records), 3);
        let serials = records.issued().unwrap();
        let serials: Vec<_> = serials.iter().map(|issued| issued.serial).collect();
        assert_eq!(serials, [1, 2, 3]);
    }

    #[test]
    fn what_is_revoked_stays_so_and_the_list_is_numbered() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        let authority = authority();
        for (serial, number) in [(1, 1), (2, 2), (2, 2)] {
            let now = records.revoke(&authority, |revoked| {
                revoked.serials.insert(serial);
            });
            assert_eq!(now.unwrap().number, number);
        }
        let revoked = records.revocations().unwrap();
        assert_eq!(revoked.serials.into_iter().collect::<Vec<_>>(), [1, 2]);
        assert!(
            fs::read(records.list_file())
                .unwrap()
                .starts_with(b"SSHKRL\n\0")
        );
    }

    #[test]
    fn a_damaged_record_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        issue(&records);
        let path = directory.path().join(ISSUED);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\n");
        fs::write(&path, text).unwrap();
        let error = records.issued().unwrap_err().to_string();
        assert!(error.contains("issued.jsonl:2:"), "{error}");
    }
}
