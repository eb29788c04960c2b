//! The check that the directory of a control socket is private to its user.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use alknet_openssh::Access;

use super::error::{DirectoryError, ShareError};

/// Returns the socket's path once it is checked that nobody but this user can
/// get at it. `make` makes the directory if it does not exist.
pub(crate) fn checked(socket: PathBuf, make: bool) -> Result<PathBuf, ShareError> {
    let length = socket.as_os_str().as_bytes().len();
    if length > LONGEST {
        return Err(ShareError::TooLong {
            path: socket,
            length,
        });
    }
    let folder = socket.parent().unwrap_or(Path::new("/"));
    if make {
        prepare(folder)?;
    }
    let metadata = std::fs::metadata(folder).map_err(|source| DirectoryError::Missing {
        path: folder.to_owned(),
        source,
    })?;
    private(folder, &metadata)?;
    Ok(socket)
}

/// The bytes that `sun_path` holds on Linux (unix(7)), without the final zero.
const LONGEST: usize = 107;

fn prepare(folder: &Path) -> Result<(), DirectoryError> {
    let not_made = |source| DirectoryError::NotMade {
        path: folder.to_owned(),
        source,
    };
    if let Some(above) = folder.parent() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(above);
        made.map_err(not_made)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(not_made(error)),
        _ => Ok(()),
    }
}

fn private(folder: &Path, metadata: &Metadata) -> Result<(), DirectoryError> {
    let path = folder.to_owned();
    let access = Access::of(metadata);
    if !metadata.is_dir() {
        Err(DirectoryError::NotADirectory { path })
    } else if !access.is_own() {
        let owner = access.owner;
        Err(DirectoryError::NotYours { path, owner })
    } else if !access.is_private() {
        let mode = access.mode;
        Err(DirectoryError::Open { path, mode })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn only_a_private_folder_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("state/alknet");
        let socket = made.join("s");
        let missing = checked(socket.clone(), false).unwrap_err().to_string();
        assert!(missing.contains("there is no directory"), "{missing}");
        checked(socket.clone(), true).unwrap();
        checked(socket.clone(), true).unwrap();
        let mode = fs::metadata(&made).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);

        fs::set_permissions(&made, fs::Permissions::from_mode(0o750)).unwrap();
        let open = checked(socket, true).unwrap_err().to_string();
        assert!(
            open.contains("mode 0750") && open.contains("chmod 700"),
            "{open}"
        );

        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let none = checked(file.join("s"), false).unwrap_err().to_string();
        assert!(none.contains("not a directory"), "{none}");

        let long = checked(made.join("x".repeat(107)), false).unwrap_err();
        assert!(matches!(long, ShareError::TooLong { .. }), "{long}");
    }
}
