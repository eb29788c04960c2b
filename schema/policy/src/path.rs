//! The grammar of Unix socket paths in scopes and rules (unix(7)).

use std::fmt;

/// The longest path of a Unix socket: `sun_path` has 108 bytes with the final
/// NUL (unix(7)).
const LONGEST: usize = 107;

/// Which Unix sockets a scope or rule is about: one absolute path, every name
/// directly in a directory, written `/run/app/*`, or every path below it,
/// `/run/app/**`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// Any one name directly in this directory; the empty text is the root
    /// directory.
    In(String),
    /// Anything below this directory.
    Below(String),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it could never match a path.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        // The shortest path it has to match decides whether it fits.
        let pattern = if let Some(folder) = text.strip_suffix("/*") {
            check(&format!("{folder}/x"))?;
            Self::In(folder.to_owned())
        } else if let Some(folder) = text.strip_suffix("/**") {
            check(&format!("{folder}/x"))?;
            Self::Below(folder.to_owned())
        } else {
            check(text)?;
            Self::Exact(text.to_owned())
        };
        let plain = match &pattern {
            Self::In(folder) | Self::Below(folder) => folder,
            Self::Exact(path) => path,
        };
        if plain.contains('*') {
            return Err(BadPath::Star);
        }
        Ok(pattern)
    }

    /// Whether a path, written in the plain way, is one of these. It may be
    /// longer than a socket's address, and need not be UTF-8.
    pub(crate) fn holds(&self, path: &[u8]) -> bool {
        let below = |directory: &str| path.strip_prefix(directory.as_bytes())?.strip_prefix(b"/");
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::In(directory) => {
                below(directory).is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
            }
            Self::Below(directory) => below(directory).is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// Whether this is the narrower of two patterns that hold the same path.
    pub(crate) fn is_narrower(&self, than: &Self) -> bool {
        match (self.directory(), than.directory()) {
            (own, Some(other)) => own.is_none_or(|own| own.len() > other.len()),
            (_, None) => false,
        }
    }

    /// The directory that is granted, which no link may lead out of; `None`
    /// where a single path is granted.
    pub fn directory(&self) -> Option<&str> {
        match self {
            Self::Exact(_) => None,
            Self::In(directory) | Self::Below(directory) if directory.is_empty() => Some("/"),
            Self::In(directory) | Self::Below(directory) => Some(directory),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::In(folder) => write!(f, "{folder}/*"),
            Self::Below(folder) => write!(f, "{folder}/**"),
        }
    }
}

/// Passes a path that can be that of a socket and is written in the one way
/// that can be compared. Symbolic links are not seen here.
pub(crate) fn check(path: &str) -> Result<(), BadPath> {
    let rest = path.strip_prefix('/').ok_or(BadPath::Relative)?;
    if path.len() > LONGEST {
        return Err(BadPath::TooLong { length: path.len() });
    }
    if path.contains('\0') {
        return Err(BadPath::Nul);
    }
    if rest.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(BadPath::Detour);
    }
    Ok(())
}

/// Why a path cannot be that of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not start with a slash.
    #[error("it is not absolute")]
    Relative,
    /// It does not fit into a socket's address.
    #[error("it has {length} bytes; a socket's path has at most {LONGEST}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It holds a NUL byte, which no path can.
    #[error("it holds a NUL byte")]
    Nul,
    /// The same file has a shorter path, or it is a directory.
    #[error("it has `//`, `/./`, `/../` or a final `/`; write the plain path")]
    Detour,
    /// A pattern with a star elsewhere than as the whole last name.
    #[error("a `*` stands for a whole last name only, as in /run/app/*")]
    Star,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, path: &str) -> bool {
        check(path).unwrap();
        PathPattern::parse(pattern).unwrap().holds(path.as_bytes())
    }

    #[test]
    fn a_path_matches_itself_and_a_folder_what_lies_directly_in_it() {
        assert!(holds("/run/app.sock", "/run/app.sock"));
        assert!(!holds("/run/app.sock", "/run/app.sock2"));
        assert!(!holds("/run/app.sock", "/run/APP.sock"));
        assert!(holds("/run/app/*", "/run/app/a"));
        assert!(holds("/run/app/*", "/run/app/*"));
        assert!(!holds("/run/app/*", "/run/app"));
        assert!(!holds("/run/app/*", "/run/app/a/b"));
        assert!(!holds("/run/app/*", "/run/application"));
        assert!(holds("/*", "/a"));
        assert!(!holds("/*", "/a/b"));
        assert!(holds("/run/**", "/run/a/b") && holds("/**", "/a") && holds("/**", "/a/b"));
        assert!(!holds("/run/**", "/run") && !holds("/run/**", "/running"));
    }

    #[test]
    fn the_granted_directory_is_what_stands_before_the_star() {
        for (pattern, directory) in [
            ("/run/x", None),
            ("/run/*", Some("/run")),
            ("/run/**", Some("/run")),
            ("/*", Some("/")),
        ] {
            let pattern = PathPattern::parse(pattern).unwrap();
            assert_eq!(pattern.directory(), directory, "{pattern}");
        }
    }

    #[test]
    fn a_path_is_written_in_one_way() {
        let longest = format!("/{}", "a".repeat(106));
        assert_eq!(check(&longest), Ok(()));
        let longer = format!("/{}", "a".repeat(107));
        for (path, expected) in [
            ("", BadPath::Relative),
            ("run/x", BadPath::Relative),
            ("~/x", BadPath::Relative),
            (longer.as_str(), BadPath::TooLong { length: 108 }),
            ("/a\0", BadPath::Nul),
            ("/", BadPath::Detour),
            ("/a/", BadPath::Detour),
            ("//a", BadPath::Detour),
            ("/a//b", BadPath::Detour),
            ("/./a", BadPath::Detour),
            ("/a/../b", BadPath::Detour),
            ("/a/..", BadPath::Detour),
            ("/..", BadPath::Detour),
        ] {
            assert_eq!(check(path), Err(expected), "{path:?}");
        }
        for name in ["/...", "/.a", "/a..", "/a b"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for (pattern, expected) in [
            ("*", BadPath::Relative),
            ("/run/*/x", BadPath::Star),
            ("/run/a*", BadPath::Star),
            ("/run/*/*", BadPath::Star),
            ("/run/**/x", BadPath::Star),
            ("/run/***", BadPath::Star),
            ("/run/**/*", BadPath::Star),
            ("/run/../*", BadPath::Detour),
            ("//*", BadPath::Detour),
            ("/run/", BadPath::Detour),
        ] {
            assert_eq!(PathPattern::parse(pattern), Err(expected), "{pattern}");
        }
        assert!(PathPattern::parse(&format!("/{}/*", "a".repeat(104))).is_ok());
        assert!(PathPattern::parse(&format!("/{}/*", "a".repeat(105))).is_err());
    }
}
