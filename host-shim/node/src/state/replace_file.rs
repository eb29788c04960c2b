//! Puts a whole text in the place of a file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Puts a text in the place of a file at once, with the mode the file has and,
/// where root does it, its owner.
///
/// # Errors
/// When the file does not exist or cannot be replaced; it stays as it was.
pub(crate) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let before = fs::metadata(file)?;
    let mode = before.permissions().mode() & 0o777;
    let owner = geteuid().is_root().then(|| (before.uid(), before.gid()));
    put_as(file, mode, owner, text.as_bytes())
}

/// Puts a text in the place of a file that may not exist yet: it is made with
/// mode 0600. A symbolic link to it stays one.
///
/// # Errors
/// When it cannot be written; what was there stays as it was.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    match fs::canonicalize(file) {
        Ok(target) => replace(&target, text),
        // A link that leads nowhere.
        Err(error) if fs::symlink_metadata(file).is_ok() => Err(error),
        Err(_) => put(file, 0o600, text.as_bytes()),
    }
}

/// Puts contents in the place of a file at once, or where there is none yet, with
/// that mode and as the caller's.
///
/// # Errors
/// When it cannot be written; what was there stays as it was.
pub(crate) fn put(file: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    put_as(file, mode, None, contents)
}

fn put_as(file: &Path, mode: u32, owner: Option<(u32, u32)>, contents: &[u8]) -> io::Result<()> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // What a change that was cut off left behind.
    let _ = fs::remove_file(&fresh);
    let written = || {
        let mut options = OpenOptions::new();
        let mut out = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?;
        if let Some((user, group)) = owner {
            fchown(&out, Some(user), Some(group))?;
        }
        out.write_all(contents)?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_made_then_replaced_and_links_to_it_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        symlink(&file, &link).unwrap();
        assert!(write(&link, "one").is_err(), "a link that leads nowhere");
        write(&file, "one").unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        write(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
