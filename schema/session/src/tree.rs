//! Parts of the file system that a confined process may reach, in their text
//! form.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path;

/// A part of the file system, written `/srv/git:rw` or `/srv/www:ro`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    /// Its path.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// Whether it may be changed.
    pub write: bool,
}

/// Why a text does not name a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not name a part of the file system: {reason}")]
pub struct TreeError {
    /// The text.
    pub text: String,
    /// What is wrong with it, and the form it should have.
    pub reason: &'static str,
}

impl FromStr for Tree {
    type Err = TreeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |reason| TreeError {
            text: text.to_owned(),
            reason,
        };
        let (path, write) = if let Some(path) = text.strip_suffix(":rw") {
            (path, true)
        } else if let Some(path) = text.strip_suffix(":ro") {
            (path, false)
        } else {
            return Err(fault("end it with :ro or :rw, as in /srv/git:rw"));
        };
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(fault("the path must begin with /"));
        }
        let plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
        if text.contains('\0') || !path.components().all(plain) {
            return Err(fault("the path must not have .. in it"));
        }
        Ok(Self {
            path: path.to_owned(),
            write,
        })
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.write { "rw" } else { "ro" };
        write!(f, "{}:{access}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_a_path_and_what_may_be_done_there() {
        for text in ["/srv/git:rw", "/srv/www:ro", "/a:b c:ro"] {
            assert_eq!(text.parse::<Tree>().unwrap().to_string(), text);
        }
        assert!("/srv/git:rw".parse::<Tree>().unwrap().write);
        for (text, reason) in [
            ("/srv/git", "end it with"),
            ("/srv/git:wr", "end it with"),
            ("srv:ro", "must begin with /"),
            (":ro", "must begin with /"),
            ("/srv/../etc:ro", "must not have .."),
        ] {
            let error = text.parse::<Tree>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
