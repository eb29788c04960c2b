//! The file that holds the mnemonic: read and created with strict ownership
//! and mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alknet_openssh::{PrivateFile, PrivateFileError};
use alknet_vault::{Mnemonic, MnemonicError};

/// The most bytes that are read: more than the longest mnemonic with any
/// sensible white space.
const MAX_LENGTH: usize = 4096;

/// Reads a mnemonic from a file that only its owner may read and change.
/// The file is opened once; a symbolic link is refused.
///
/// # Errors
/// When the file cannot be read, is not a regular file, is open to others
/// or owned by someone else, or does not hold a mnemonic.
pub(crate) fn read(path: &Path) -> Result<Mnemonic, MnemonicFileError> {
    let bytes = PrivateFile::default().read(path, MAX_LENGTH)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| MnemonicFileError::NotText {
        path: path.to_owned(),
    })?;
    Mnemonic::parse(text).map_err(|source| MnemonicFileError::Invalid {
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
pub(crate) fn create(mnemonic: &Mnemonic, path: &Path) -> Result<(), MnemonicFileError> {
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
    write_and_sync(mnemonic, &mut file, path).map_err(|source| {
        // The write's own error is the one to report.
        let _ = fs::remove_file(path);
        fail(source)
    })
}

fn write_and_sync(mnemonic: &Mnemonic, file: &mut File, path: &Path) -> io::Result<()> {
    file.write_all(mnemonic.expose_phrase().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // The new name must be on the disk as well.
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Why a mnemonic file could not be read or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MnemonicFileError {
    /// It cannot be read, or others may read or change it.
    #[error("the mnemonic file: {0}")]
    File(#[from] PrivateFileError),
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

#[cfg(test)]
mod tests;
