//! The lock that makes one process at a time the master of a control socket.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::ShareError;

/// The right to be the master at a socket. It belongs to an open file: the
/// process that starts a master hands it on, and the kernel takes it back
/// however the last of them ends.
pub(crate) struct Lock {
    file: OwnedFd,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, unless another process has it.
    pub(crate) fn take(socket: &Path) -> Result<Option<Self>, ShareError> {
        let path = path_for(socket);
        let failed = |source| ShareError::Lock {
            path: path.clone(),
            source,
        };
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .custom_flags(NO_LINK)
                .open(&path)
                .map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(failed(error.into())),
            }
            // The one before may have removed the file after we opened it.
            if is_at(&file, &path).map_err(failed)? {
                let file = file.into();
                return Ok(Some(Self { file, path }));
            }
        }
    }

    /// The lock that this process was started with, as standard input.
    pub(crate) fn inherited(socket: &Path) -> Result<Self, ShareError> {
        let path = path_for(socket);
        let stdin = rustix::stdio::stdin().try_clone_to_owned();
        let file = File::from(stdin.map_err(|_| ShareError::NotStartedByExec)?);
        match is_at(&file, &path) {
            Ok(true) => Ok(Self {
                file: file.into(),
                path,
            }),
            _ => Err(ShareError::NotStartedByExec),
        }
    }

    /// The descriptor for the process that is to have the lock.
    pub(crate) fn hand_on(self) -> OwnedFd {
        self.file
    }

    /// Removes the socket and gives the right to it back. What others have put
    /// there after the files were removed by hand is theirs.
    pub(crate) fn release(self, socket: &Path) {
        let file = File::from(self.file);
        if is_at(&file, &self.path).is_ok_and(|ours| ours) {
            let _ = std::fs::remove_file(socket);
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn path_for(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let lock = Lock::take(&socket).unwrap().unwrap();
        assert!(Lock::take(&socket).unwrap().is_none());
        lock.release(&socket);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let handed = Lock::take(&socket).unwrap().unwrap().hand_on();
        assert!(Lock::take(&socket).unwrap().is_none());
        drop(handed);
        assert!(Lock::take(&socket).unwrap().is_some());
    }
}
