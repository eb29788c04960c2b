//! Files and directories that hold a secret: who may get at them, and reading
//! them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Who may get at a file or a directory: its owner, and what its mode says of
/// everybody else. Access control lists show in the mode of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The numeric id of the owner.
    pub owner: u32,
    /// The permission bits, at most 0o7777.
    pub mode: u32,
}

impl Access {
    /// Who may get at what has this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self::new(metadata.uid(), metadata.mode())
    }

    /// Who may get at what has this owner and this `st_mode` (stat(2)).
    pub fn new(owner: u32, mode: u32) -> Self {
        let mode = mode & 0o7777;
        Self { owner, mode }
    }

    /// Whether group and others have no permission at all.
    pub fn is_private(self) -> bool {
        self.mode & 0o077 == 0
    }

    /// Whether it belongs to this process's effective user.
    pub fn is_own(self) -> bool {
        self.owner == rustix::process::geteuid().as_raw()
    }

    /// Whether it belongs to this process's effective user or to root, who can
    /// read everything anyway.
    pub fn is_own_or_of_root(self) -> bool {
        self.owner == 0 || self.is_own()
    }
}

/// How a file that holds a secret is opened. Every such file is a regular one
/// that is closed to group and others.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrivateFile {
    /// Whether a symbolic link is followed.
    pub follow_links: bool,
    /// Whether it may belong to somebody else than this user and root.
    pub any_owner: bool,
}

impl PrivateFile {
    /// Reads a whole file of at most `limit` bytes. It is opened once, and
    /// checked as it is open.
    ///
    /// # Errors
    /// When it cannot be read, is not a regular file, is open to others, or is
    /// longer than `limit`.
    pub fn read(self, path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
        let (file, length) = self.open(path)?;
        // Room for all of it at once: growing would leave copies behind.
        let room = usize::try_from(length).unwrap_or(limit).min(limit) + 64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| failed(path, source))?;
        if bytes.len() > limit {
            let path = path.to_owned();
            return Err(PrivateFileError::TooLarge { path, limit });
        }
        Ok(bytes)
    }

    /// The open file and its length in bytes.
    fn open(self, path: &Path) -> Result<(File, u64), PrivateFileError> {
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let mut flags = OFlags::NONBLOCK;
        if !self.follow_links {
            flags |= OFlags::NOFOLLOW;
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(|source| match source.raw_os_error() {
                Some(code) if code == Errno::LOOP.raw_os_error() && !self.follow_links => {
                    PrivateFileError::SymbolicLink {
                        path: path.to_owned(),
                    }
                }
                _ => failed(path, source),
            })?;
        let metadata = file.metadata().map_err(|source| failed(path, source))?;
        let access = Access::of(&metadata);
        let path = path.to_owned();
        if !metadata.is_file() {
            Err(PrivateFileError::NotAFile { path })
        } else if !self.any_owner && !access.is_own_or_of_root() {
            let owner = access.owner;
            Err(PrivateFileError::ForeignOwner { path, owner })
        } else if !access.is_private() {
            let mode = access.mode;
            Err(PrivateFileError::Exposed { path, mode })
        } else {
            Ok((file, metadata.len()))
        }
    }
}

fn failed(path: &Path, source: io::Error) -> PrivateFileError {
    PrivateFileError::Read {
        path: path.to_owned(),
        source,
    }
}

/// A path as a shell takes it.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Why a file that holds a secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The system would not open or read it.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("{} is a symbolic link; name the file itself", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Someone else owns it and could change it.
    #[error("{} belongs to user id {owner}; it must belong to you or to root", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// Group or others have some access to it.
    #[error(
        "{} holds a secret and is open to others (mode {mode:04o}); run: chmod 600 {}",
        path.display(), for_shell(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is longer than any such file.
    #[error("{} is larger than {limit} bytes, which no such file is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that it may have.
        limit: usize,
    },
}
