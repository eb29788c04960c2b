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
        if geteuid().is_root() {
            fchown(&out, Some(before.uid()), Some(before.gid()))?;
        }
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// The same, for a file that may not be there yet: it is made with mode 0600,
/// and its directory, if need be, with mode 0700. A symbolic link to it stays
/// one.
///
/// # Errors
/// When it cannot be written; what was there stays as it was.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Ok(target) = fs::canonicalize(file) {
        return replace(&target, text);
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?
        .write_all(text.as_bytes())
}
