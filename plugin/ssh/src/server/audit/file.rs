//! The audit file: appended to in whole lines, reopened after a rename, shared
//! by handlers under a lock.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

/// The time for which another handler that writes to the file is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// The audit file, which others may rename at any time. Another handler may
/// write to the same file: the one that this one replaces.
pub(super) struct AuditFile {
    path: PathBuf,
    file: Option<File>,
}

/// Lines that were not written, or not all of them.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct AppendError {
    /// The number of lines that were written, from the first on.
    pub(super) written: usize,
    pub(super) error: AuditFileError,
}

/// Why the audit file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditFileError {
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; name one, or a path where there is none yet", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} belongs to another user; use a file of the node's own", path.display())]
    Owner { path: PathBuf },
    #[error("{} can be read or written by everybody; take that away with `chmod o-rwx`", path.display())]
    Mode { path: PathBuf },
}

impl AuditFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, AuditFileError> {
        let file = open(&path)?;
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    /// Appends whole lines. A line that was begun, whoever began it, is ended
    /// first.
    ///
    /// # Errors
    /// When they could not be written, or not all of them.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), AppendError> {
        if self.was_moved() {
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path).map_err(|error| AppendError { written: 0, error })?,
        };
        let outcome = append_to(&mut file, lines);
        self.file = Some(file);
        outcome.map_err(|(written, source)| AppendError {
            written,
            error: AuditFileError::Write {
                path: self.path.clone(),
                source,
            },
        })
    }

    /// A file on a disk that is full (full(4)).
    #[cfg(test)]
    pub(super) fn full() -> Self {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        Self {
            path,
            file: Some(file),
        }
    }

    /// Whether the path leads to another file by now, or to none.
    fn was_moved(&self) -> bool {
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        match (open, fs::symlink_metadata(&self.path)) {
            (Some(open), Ok(named)) => !same(&open, &named),
            _ => true,
        }
    }
}

/// Fails with the number of whole lines that were written.
fn append_to(file: &mut File, lines: &[u8]) -> Result<(), (usize, io::Error)> {
    let _lock = Lock::take(file);
    if ends_within_line(file) {
        file.write_all(b"\n").map_err(|error| (0, error))?;
    }
    let mut written = 0;
    while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
        let failed = |error| {
            let whole = lines.get(..written).unwrap_or_default();
            (whole.iter().filter(|byte| **byte == b'\n').count(), error)
        };
        match file.write(rest) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Whether the last line has no line feed: a process was killed, or the disk
/// was full.
fn ends_within_line(file: &File) -> bool {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut last = [b'\n'];
    let Some(at) = length.checked_sub(1) else {
        return false;
    };
    matches!(file.read_at(&mut last, at), Ok(1)) && last != *b"\n"
}

/// Keeps two handlers of a node from writing into each other's lines.
struct Lock(Option<File>);

impl Lock {
    /// Takes the lock, or goes on without it after a while: nobody else can
    /// stop the records by a lock.
    fn take(file: &File) -> Self {
        let until = Instant::now() + LOCK_TIMEOUT;
        while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= until {
                return Self(None);
            }
            thread::sleep(LOCK_RETRY);
        }
        Self(file.try_clone().ok())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

fn open(path: &Path) -> Result<File, AuditFileError> {
    let path = path.to_owned();
    // A pipe without a reader must not make us wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(&path);
    let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(source) => return Err(AuditFileError::Open { path, source }),
    };
    if !metadata.is_file() {
        return Err(AuditFileError::NotAFile { path });
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(AuditFileError::Owner { path });
    }
    if metadata.mode() & 0o007 != 0 {
        return Err(AuditFileError::Mode { path });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_follows_a_rename() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (
            directory.path().join("a.jsonl"),
            directory.path().join("a.1"),
        );
        let mut file = AuditFile::open(path.clone()).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.append(b"1\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.append(b"2\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "3\n");
    }

    #[test]
    fn a_torn_line_is_ended_whoever_left_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut one = AuditFile::open(path.clone()).unwrap();
        let mut other = AuditFile::open(path.clone()).unwrap();
        one.append(b"1\n").unwrap();
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"torn").unwrap();
        other.append(b"2\n3\n").unwrap();
        one.append(b"4\n").unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, "1\n{\"torn\n2\n3\n4\n");
    }

    #[test]
    fn what_is_no_file_of_our_own_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        let link = directory.path().join("link");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for (path, why) in [
            (Path::new("/dev/null"), "not a regular file"),
            (directory.path(), "cannot open"),
            (&link, "cannot open"),
            (Path::new("/nowhere/at/all"), "cannot open"),
        ] {
            let error = AuditFile::open(path.to_owned()).err().unwrap();
            assert!(error.to_string().contains(why), "{error}");
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(0o604)).unwrap();
        let error = AuditFile::open(target).err().unwrap();
        assert!(error.to_string().contains("chmod o-rwx"), "{error}");
    }
}
