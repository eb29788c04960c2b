use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The audit file, which others may rename at any time.
pub(super) struct AuditFile {
    path: PathBuf,
    file: Option<File>,
    /// The last write ended within a line.
    torn: bool,
}

/// Why the audit file cannot be had.
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
            torn: false,
        })
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// When they could not be written, or not all of them.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), AuditFileError> {
        if self.was_moved() {
            self.file = None;
            self.torn = false;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        let written = self
            .mend(&mut file)
            .and_then(|()| file.write_all(lines).inspect_err(|_| self.torn = true));
        self.file = Some(file);
        written.map_err(|source| AuditFileError::Write {
            path: self.path.clone(),
            source,
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
            torn: false,
        }
    }

    /// Ends a line that was begun.
    fn mend(&mut self, file: &mut File) -> io::Result<()> {
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        Ok(())
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

fn open(path: &Path) -> Result<File, AuditFileError> {
    let path = path.to_owned();
    // A pipe without a reader must not make us wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
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
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a.jsonl"), folder.path().join("a.1"));
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
    fn what_is_no_file_of_our_own_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let link = folder.path().join("link");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for (path, why) in [
            (Path::new("/dev/null"), "not a regular file"),
            (folder.path(), "cannot open"),
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
