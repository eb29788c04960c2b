//! Private copies of libraries, each under a path and inode never used before.
//!
//! The dynamic loader takes a path or an inode it has seen for the library it already has, so a new version loads only
//! from a new file. And a loaded file that is overwritten takes the process down at the next call, so the file must be
//! out of everybody's reach.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use alknet_openssh::Access;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, MemfdFlags, Mode, OFlags, flock, fstat, memfd_create,
    mkdirat, openat, unlinkat,
};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::folder::open_trusted_parent;
use crate::refusal::Refusal;
use crate::trust::{CopyError, TrustedFile};

/// The mode of a copy, which processes of other accounts that are given it may read.
const READABLE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// Counts the copies of this process, across all stages: no name is used twice.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// The directory of the private copies.
///
/// A copy stays as long as somebody may use the library, though the loader would not mind its removal: a backtrace
/// or a debugger reads the symbols from the file. What a process left behind is removed by [`Stage::sweep`] at the next
/// start. Several processes may share a directory: each copy is locked (flock(2)) by its process, and the kernel lifts that
/// lock when the process ends, however it ends.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    folder: RwLock<Arc<OwnedFd>>,
}

impl Stage {
    /// Opens the staging directory, creating it with mode 0700 if there is none; its parent must exist.
    ///
    /// It must be a directory (no symbolic link) of this process's effective user that nobody else can enter, and the
    /// directories on its path must be such that nobody else can replace it.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let failed = |action| move |errno: Errno| io_error(path, action, errno.into());
        let absolute = std::path::absolute(path)
            .map_err(|e| io_error(path, "resolve the staging directory", e))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(unfit(path, "not a directory of its own".to_owned()));
        };
        let parent = open_trusted_parent(parent)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create the staging directory")(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(&parent, name, flags, Mode::empty()).map_err(|errno| match errno {
            // Linux answers NOTDIR for a symbolic link when a directory is asked for.
            Errno::NOTDIR | Errno::LOOP => unfit(path, "a file or a symbolic link".to_owned()),
            errno => failed("open the staging directory")(errno),
        })?;
        let stat = fstat(&folder).map_err(failed("look at the staging directory"))?;
        let access = Access::new(stat.st_uid, stat.st_mode);
        if !(access.is_own() && access.is_private()) {
            let Access { owner, mode } = access;
            return Err(unfit(path, format!("of uid {owner} with mode {mode:04o}")));
        }
        Ok(Self {
            path: absolute,
            folder: RwLock::new(Arc::new(folder)),
        })
    }

    /// Makes the directory again if it was removed or moved away; whether it had to. Copies that were opened from it go on.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn restore(&self) -> Result<bool, Refusal> {
        let ours = fstat(self.folder()).ok();
        let there = rustix::fs::lstat(&self.path).ok();
        let same = ours
            .zip(there)
            .is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        if same {
            return Ok(false);
        }
        let again = Self::open(&self.path)?;
        let mut folder = self.folder.write().unwrap_or_else(PoisonError::into_inner);
        *folder = again.folder();
        Ok(true)
    }

    fn folder(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.folder.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a copy (mode 0444, in a directory that nobody else enters: a process of another account may be given it as a descriptor) under a name of its own: `<sha256>-<process>-<count>.so`.
    pub fn place(&self, library: &TrustedFile) -> Result<Staged, Refusal> {
        let process = std::process::id();
        self.restore()?;
        let folder = self.folder();
        loop {
            let count = COPIES.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{process}-{count}.so", library.digest().to_hex());
            let path = self.path.join(&name);
            let failed = |action| {
                let path = path.clone();
                move |errno: Errno| io_error(&path, action, errno.into())
            };
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match openat(&*folder, &name, flags, READABLE) {
                Ok(file) => File::from(file),
                // Left by an earlier process that had our id.
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(failed("create the staged copy")(errno)),
            };
            flock(&file, FlockOperation::LockShared).map_err(failed("lock the staged copy"))?;
            // Another process's sweep may have come between creating and locking.
            let links = fstat(&file)
                .map_err(failed("look at the staged copy"))?
                .st_nlink;
            if links == 0 {
                continue;
            }
            let written = library.copy_to(&file);
            // Dropped where it is not whole.
            let staged = Staged {
                path: path.clone(),
                digest: library.digest(),
                locked: Some(file),
            };
            written.map_err(|error| copy_error(library, &path, "write the staged copy", error))?;
            return Ok(staged);
        }
    }

    /// Removes the copies that ended processes left behind, and returns how many. Files of other names stay.
    pub fn sweep(&self) -> Result<usize, Refusal> {
        let failed =
            |errno: Errno| io_error(&self.path, "sweep the staging directory", errno.into());
        let mut removed = 0;
        let folder = self.folder();
        for entry in Dir::read_from(&*folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if !is_staged_name(OsStr::from_bytes(name.to_bytes())) {
                continue;
            }
            // The lock is held until the file is gone, so that nobody can take it in between.
            if let Some(_lock) = self.lock_abandoned(name).map_err(failed)? {
                unlinkat(&*folder, name, AtFlags::empty()).map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn lock_abandoned(&self, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&*self.folder(), name, flags, Mode::empty()) {
            Ok(file) => file,
            // A link or a socket is not ours; a missing file was swept by someone else.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // Where locks do not work nobody can tell whose copy it is, and it stays.
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(locked.is_ok().then_some(file))
    }
}

/// One private copy. Dropped, it is removed again, which a library that was opened from it survives.
#[derive(Debug)]
#[must_use = "a staged copy is removed when it is dropped"]
pub struct Staged {
    path: PathBuf,
    digest: Digest,
    /// The copy, which is locked; none if it is in memory.
    locked: Option<File>,
}

impl Staged {
    /// A copy in memory (memfd_create(2)), for a process that shall leave nothing behind however it ends.
    pub(crate) fn in_memory(library: &TrustedFile) -> Result<Self, Refusal> {
        let failed = |error: io::Error| io_error(library.path(), "make a copy in memory", error);
        let file = memfd_create("alknet-plugin", MemfdFlags::CLOEXEC);
        let file = file.map(File::from).map_err(|errno| failed(errno.into()))?;
        library
            .copy_to(&file)
            .map_err(|error| copy_error(library, library.path(), "make a copy in memory", error))?;
        // With the process's id, so that one it starts can open it too.
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        // Never closed: under the same path the loader would take the next copy for this one.
        std::mem::forget(file);
        Ok(Self {
            path: path.into(),
            digest: library.digest(),
            locked: None,
        })
    }

    /// The path to open: absolute, never used before.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path by which this process can open it, even where it was removed.
    pub(crate) fn reachable_path(&self) -> PathBuf {
        match &self.locked {
            Some(file) if !self.path.exists() => {
                format!("/proc/self/fd/{}", file.as_raw_fd()).into()
            }
            _ => self.path.clone(),
        }
    }

    /// The digest of the contents.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.locked.is_some() {
            // What cannot be removed now is swept at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a name has the form that [`Stage::place`] gives.
fn is_staged_name(name: &OsStr) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = || {
        let (digest, rest) = name.to_str()?.strip_suffix(".so")?.split_once('-')?;
        let (process, count) = rest.split_once('-')?;
        Some((digest, process, count))
    };
    parts().is_some_and(|(digest, process, count)| {
        digest.len() == 64
            && digest.bytes().all(|b| b.is_ascii_hexdigit())
            && digits(process)
            && digits(count)
    })
}

fn unfit(path: &Path, found: String) -> Refusal {
    Refusal::StageFolder {
        path: path.to_owned(),
        found,
        user: rustix::process::geteuid().as_raw(),
    }
}

fn copy_error(
    library: &TrustedFile,
    path: &Path,
    action: &'static str,
    error: CopyError,
) -> Refusal {
    match error {
        CopyError::Io(source) => io_error(path, action, source),
        CopyError::Changed => Refusal::Changed {
            path: library.path().to_owned(),
        },
    }
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Refusal {
    Refusal::Io {
        path: path.to_owned(),
        action,
        source,
    }
}
