//! The file system at either end of a copy, behind one trait.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use alknet_ssh::client::{
    DirectoryEntry, FileAttributes, FileKind, FileStatus, Files, FilesError, ListingLimit,
};
use tokio::task::spawn_blocking;

/// A file system: this machine's, or the node's. Paths are bytes, as in Unix.
pub(super) trait FileSystem {
    /// The attributes of a file, or of the one a link leads to; `None` if it
    /// does not exist.
    async fn stat(&self, path: &[u8]) -> Result<Option<FileAttributes>, FilesError>;

    /// All entries of a directory, if they are not more than `most`.
    async fn list(
        &self,
        path: &[u8],
        most: ListingLimit,
    ) -> Result<Vec<DirectoryEntry>, FilesError>;

    /// The path without links.
    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FilesError>;

    /// Makes a directory, unless it exists.
    async fn make_directory(&self, path: &[u8], permissions: Option<u32>)
    -> Result<(), FilesError>;

    /// Gives a directory the permissions and times of another one.
    async fn preserve(&self, path: &[u8], like: &FileAttributes) -> Result<(), FilesError>;
}

/// The file system of this machine.
pub(super) struct Local;

/// The file system of the node, over SFTP.
pub(super) struct Remote(Files);

/// The permissions that a directory needs while it is filled by its owner.
const OWNERS: u32 = 0o700;
const USUAL: u32 = 0o777;
/// The bits of a mode that are permissions and not privileges.
pub(super) const PLAIN: u32 = 0o777;

impl Remote {
    pub(super) fn new(files: Files) -> Self {
        Self(files)
    }
}

impl FileSystem for Remote {
    async fn stat(&self, path: &[u8]) -> Result<Option<FileAttributes>, FilesError> {
        match self.0.stat(path).await {
            Ok(attributes) => Ok(Some(attributes)),
            Err(error) if error.status() == Some(FileStatus::NoSuchFile) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        path: &[u8],
        most: ListingLimit,
    ) -> Result<Vec<DirectoryEntry>, FilesError> {
        self.0.read_folder(path, most).await
    }

    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
        self.0.real_path(path).await
    }

    async fn make_directory(
        &self,
        path: &[u8],
        permissions: Option<u32>,
    ) -> Result<(), FilesError> {
        let permissions = permissions.unwrap_or(USUAL) & PLAIN | OWNERS;
        let refused = match self.0.make_directory(path, permissions).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match self.stat(path).await? {
            Some(attributes) if attributes.kind == Some(FileKind::Folder) => Ok(()),
            _ => Err(refused),
        }
    }

    async fn preserve(&self, path: &[u8], like: &FileAttributes) -> Result<(), FilesError> {
        if let Some(permissions) = like.permissions {
            self.0.set_permissions(path, permissions & PLAIN).await?;
        }
        match like.times {
            Some(times) => self.0.set_times(path, times).await,
            None => Ok(()),
        }
    }
}

impl FileSystem for Local {
    async fn stat(&self, path: &[u8]) -> Result<Option<FileAttributes>, FilesError> {
        match fs::metadata(local_path(path)) {
            Ok(metadata) => Ok(Some(attributes(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&error)),
        }
    }

    async fn list(
        &self,
        path: &[u8],
        most: ListingLimit,
    ) -> Result<Vec<DirectoryEntry>, FilesError> {
        let path = local_path(path).to_owned();
        let listing = spawn_blocking(move || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if entries.len() == most.entries {
                    return Ok(None);
                }
                // What is removed meanwhile is left out.
                if let Ok(metadata) = entry.metadata() {
                    entries.push(DirectoryEntry {
                        name: entry.file_name().into_vec(),
                        attributes: attributes(&metadata),
                    });
                }
            }
            Ok(Some(entries))
        });
        let entries: io::Result<_> = listing.await.map_err(io::Error::other).flatten();
        entries
            .map_err(|error| io_error(&error))?
            .ok_or(FilesError::TooMany)
    }

    async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
        let real = fs::canonicalize(local_path(path)).map_err(|error| io_error(&error))?;
        Ok(real.into_os_string().into_vec())
    }

    async fn make_directory(
        &self,
        path: &[u8],
        permissions: Option<u32>,
    ) -> Result<(), FilesError> {
        let mode = permissions.unwrap_or(USUAL) & PLAIN | OWNERS;
        match DirBuilder::new().mode(mode).create(local_path(path)) {
            Err(_) if local_path(path).is_dir() => Ok(()),
            outcome => outcome.map_err(|error| io_error(&error)),
        }
    }

    async fn preserve(&self, path: &[u8], like: &FileAttributes) -> Result<(), FilesError> {
        let folder = File::open(local_path(path)).map_err(|error| io_error(&error))?;
        apply_attributes(&folder, like).map_err(|error| io_error(&error))
    }
}

/// Gives a file of ours the permissions and times of another one.
pub(super) fn apply_attributes(file: &File, like: &FileAttributes) -> io::Result<()> {
    if let Some(permissions) = like.permissions {
        file.set_permissions(Permissions::from_mode(permissions & PLAIN))?;
    }
    let at = |seconds: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
    match like.times {
        Some((read, changed)) => {
            let times = FileTimes::new()
                .set_accessed(at(read))
                .set_modified(at(changed));
            file.set_times(times)
        }
        None => Ok(()),
    }
}

/// The attributes of a local file, as a server would tell them.
pub(super) fn attributes(metadata: &Metadata) -> FileAttributes {
    let kind = metadata.file_type();
    let kind = if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Folder
    } else if kind.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    };
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        kind: Some(kind),
        size: Some(metadata.size()),
        permissions: Some(metadata.mode() & 0o7777),
        times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
    }
}

pub(super) fn local_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// A local error in the form that a server's has.
pub(super) fn io_error(error: &io::Error) -> FilesError {
    let words = error.to_string();
    FilesError::Refused {
        status: match error.kind() {
            io::ErrorKind::NotFound => FileStatus::NoSuchFile,
            io::ErrorKind::PermissionDenied => FileStatus::PermissionDenied,
            _ => FileStatus::Failure,
        },
        words: words
            .split(" (os error")
            .next()
            .unwrap_or(&words)
            .to_owned(),
    }
}
