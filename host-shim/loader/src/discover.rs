//! Lists the files of the plugins directory that may be plugins.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::shown;

/// A file of the plugins directory that may be a plugin: its name ends in `.so`, and nothing else is known of it yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    path: PathBuf,
}

impl Candidate {
    /// The directory as it was given, and the file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why the plugins directory could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The directory does not exist.
    #[error(
        "{}: the plugins directory does not exist; create it and put plugins (*.so) there, or name another",
        shown(folder)
    )]
    Missing {
        /// The directory asked for.
        folder: PathBuf,
    },
    /// The path leads to something other than a directory.
    #[error(
        "{}: the plugins directory is not a directory; name the directory that holds the plugins",
        shown(folder)
    )]
    NotAFolder {
        /// The path asked for.
        folder: PathBuf,
    },
    /// Listing it failed.
    #[error("{}: cannot list the plugins directory: {source}", shown(folder))]
    Unreadable {
        /// The directory asked for.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Lists the files of `folder` whose name ends in `.so`, sorted by name, hidden ones left out.
///
/// A symbolic link, a directory or an unreadable file of such a name is listed too, so that a later step refuses it with a
/// reason instead of nobody hearing of it.
pub fn discover(folder: &Path) -> Result<Vec<Candidate>, DiscoverError> {
    let failed = |source: io::Error| {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => DiscoverError::Missing { folder },
            io::ErrorKind::NotADirectory => DiscoverError::NotAFolder { folder },
            _ => DiscoverError::Unreadable { folder, source },
        }
    };
    let mut names = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<OsString>, _>>()
        .map_err(failed)?;
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        !name.starts_with(b".") && name.ends_with(b".so")
    });
    names.sort();
    Ok(names
        .into_iter()
        .map(|name| Candidate {
            path: folder.join(name),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_names_are_listed_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.so",
            "liba.so",
            ".hidden.so",
            ".so",
            "a.so.1",
            "readme.md",
            "so",
        ] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.so")).unwrap();
        let found = discover(folder.path()).unwrap();
        let names = found
            .iter()
            .map(|c| c.path().file_name().unwrap())
            .collect::<Vec<_>>();
        assert_eq!(names, ["b.so", "dangling.so", "liba.so"]);
    }

    #[test]
    fn a_missing_folder_and_a_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = discover(&folder.path().join("plugins")).unwrap_err();
        assert!(
            matches!(missing, DiscoverError::Missing { .. }),
            "{missing}"
        );
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let file = discover(&file).unwrap_err();
        assert!(matches!(file, DiscoverError::NotAFolder { .. }), "{file}");
    }
}
