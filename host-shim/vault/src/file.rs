//! The file that holds the mnemonic: read and created with strict ownership
//! and mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::{Mnemonic, MnemonicError};

/// The most bytes that are read: more than the longest mnemonic with any
/// sensible white space.
const MAX_LENGTH: usize = 4096;

impl Mnemonic {
    /// Reads a mnemonic from a file that only its owner may read and change.
    /// The file is opened once; a symbolic link is refused.
    ///
    /// # Errors
    /// When the file cannot be read, is not a regular file, is open to others
    /// or owned by someone else, or does not hold a mnemonic.
    pub fn read_file(path: &Path) -> Result<Self, MnemonicFileError> {
        let file = open(path)?;
        check_access(&file, path)?;
        let text = read(file, path)?;
        Self::parse(&text).map_err(|source| MnemonicFileError::Invalid {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the words to a new file with mode 0600 and waits until they are
    /// on the disk. A file that is there already is left alone; one that could
    /// not be written whole is removed again.
    ///
    /// # Errors
    /// When the file exists or cannot be created or written.
    pub fn create_file(&self, path: &Path) -> Result<(), MnemonicFileError> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => MnemonicFileError::Exists {
                path: path.to_owned(),
            },
            _ => MnemonicFileError::Write {
                path: path.to_owned(),
                source,
            },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        self.write_and_sync(&mut file, path).map_err(|source| {
            // The write's own error is the one to report.
            let _ = fs::remove_file(path);
            fail(source)
        })
    }

    fn write_and_sync(&self, file: &mut File, path: &Path) -> io::Result<()> {
        file.write_all(self.expose_phrase().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        // The new name must be on the disk as well.
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

fn open(path: &Path) -> Result<File, MnemonicFileError> {
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(|source| match source.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                MnemonicFileError::SymbolicLink {
                    path: path.to_owned(),
                }
            }
            _ => MnemonicFileError::Read {
                path: path.to_owned(),
                source,
            },
        })
}

fn check_access(file: &File, path: &Path) -> Result<(), MnemonicFileError> {
    let path = path.to_owned();
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(source) => return Err(MnemonicFileError::Read { path, source }),
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let owner = metadata.uid();
    if !metadata.is_file() {
        return Err(MnemonicFileError::NotAFile { path });
    }
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(MnemonicFileError::ForeignOwner { path, owner });
    }
    if mode & 0o077 != 0 {
        return Err(MnemonicFileError::Exposed { path, mode });
    }
    Ok(())
}

fn read(file: File, path: &Path) -> Result<Zeroizing<String>, MnemonicFileError> {
    let path = path.to_owned();
    // Sized ahead: growing would leave copies of the words behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_LENGTH + 64));
    match file.take(MAX_LENGTH as u64 + 1).read_to_string(&mut text) {
        Ok(length) if length > MAX_LENGTH => Err(MnemonicFileError::TooLarge { path }),
        Ok(_) => Ok(text),
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            Err(MnemonicFileError::NotText { path })
        }
        Err(source) => Err(MnemonicFileError::Read { path, source }),
    }
}

/// Why a mnemonic file could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum MnemonicFileError {
    /// The system would not open or read it.
    #[error("cannot read the mnemonic file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("{} is a symbolic link; name the mnemonic file itself", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The thing.
        path: PathBuf,
    },
    /// Group or others have some access to it.
    #[error(
        "{} holds the node's secret, but others than its owner have access (mode {mode:04o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Someone else owns it and could change it.
    #[error("{} belongs to user id {owner}; it must belong to you or to root", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// It is far too large.
    #[error("{} is larger than {MAX_LENGTH} bytes and so no mnemonic file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8.
    #[error("{} is not a text file (UTF-8)", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Its text is not a mnemonic.
    #[error("{}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with the words.
        source: MnemonicError,
    },
    /// It is there already.
    #[error("{} exists already; it is left untouched", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system would not create or write it.
    #[error("cannot write the mnemonic file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
