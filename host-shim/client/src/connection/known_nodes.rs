//! The file of node keys that were trusted on first use.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use alknet_quic::{NodeKey, NodeKeyError};
use rustix::fs::{FlockOperation, flock};

use crate::options::places;
use crate::options::target::Target;

/// The file of node keys trusted on first use.
///
/// One node a line, `host:port ed25519:hex`; whatever follows a `#` is a
/// comment.
#[derive(Debug, Clone)]
pub(crate) struct KnownNodes {
    path: PathBuf,
}

/// A node's key and where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: NodeKey,
    /// The line, counted from 1.
    pub(crate) line: usize,
}

impl KnownNodes {
    /// The file at `path`, or at its usual place.
    pub(crate) fn at(path: Option<&Path>) -> Result<Self, KnownNodesError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => places::config_directory()
                .ok_or(KnownNodesError::NoHome)?
                .join("known_nodes"),
        };
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key on record for `target`. A file that does not exist records none.
    pub(crate) fn find(&self, target: &Target) -> Result<Option<Known>, KnownNodesError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.unreadable(source)),
        };
        self.find_in(&text, target)
    }

    /// Records `key` for `target`, unless a key is on record by now: then that
    /// one is returned. The file is locked meanwhile.
    pub(crate) fn record(
        &self,
        target: &Target,
        key: NodeKey,
    ) -> Result<Option<Known>, KnownNodesError> {
        let unwritable = |source| KnownNodesError::Unwritable {
            path: self.path.clone(),
            source,
        };
        let mut file = self.open_for_append().map_err(unwritable)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|source| self.unreadable(source))?;
        if let Some(known) = self.find_in(&text, target)? {
            return Ok(Some(known));
        }
        let break_open_line = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        // One write, so that a reader without the lock sees all or nothing.
        file.write_all(format!("{break_open_line}{target} {key}\n").as_bytes())
            .map_err(unwritable)?;
        Ok(None)
    }

    fn open_for_append(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }

    fn find_in(&self, text: &str, target: &Target) -> Result<Option<Known>, KnownNodesError> {
        let wanted = target.to_string();
        let mut found: Option<Known> = None;
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let (host, key) = match parse_line(line) {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(fault) => {
                    return Err(KnownNodesError::Malformed {
                        path: self.path.clone(),
                        line: line_number,
                        fault,
                    });
                }
            };
            if host != wanted {
                continue;
            }
            match found {
                Some(first) if first.key != key => {
                    return Err(KnownNodesError::Contradiction {
                        path: self.path.clone(),
                        target: wanted,
                        first: first.line,
                        second: line_number,
                    });
                }
                Some(_) => {}
                None => {
                    found = Some(Known {
                        key,
                        line: line_number,
                    });
                }
            }
        }
        Ok(found)
    }

    fn unreadable(&self, source: io::Error) -> KnownNodesError {
        KnownNodesError::Unreadable {
            path: self.path.clone(),
            source,
        }
    }
}

/// Why the known-nodes file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownNodesError {
    #[error("neither XDG_CONFIG_HOME nor HOME is set: give --known-nodes FILE or --node-key")]
    NoHome,
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {fault}; correct or remove the line", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        fault: LineFault,
    },
    #[error(
        "{}: lines {first} and {second} give different keys for {target}; remove the wrong one",
        path.display()
    )]
    Contradiction {
        path: PathBuf,
        target: String,
        first: usize,
        second: usize,
    },
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    #[error("expected \"host:port ed25519:hex\", found {words} word(s)")]
    Words { words: usize },
    #[error("{0}")]
    Key(#[from] NodeKeyError),
}

fn parse_line(line: &str) -> Result<Option<(&str, NodeKey)>, LineFault> {
    let entry = line.split('#').next().unwrap_or_default();
    let mut words = entry.split_whitespace();
    match (words.next(), words.next(), words.count()) {
        (None, ..) => Ok(None),
        (Some(host), Some(key), 0) => Ok(Some((host, key.parse()?))),
        (Some(_), None, _) => Err(LineFault::Words { words: 1 }),
        (Some(_), Some(_), more) => Err(LineFault::Words { words: 2 + more }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(byte: u8) -> NodeKey {
        NodeKey::from_bytes([byte; 32])
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn file_with(text: &str) -> (tempfile::TempDir, KnownNodes) {
        let folder = tempfile::tempdir().unwrap();
        let nodes = KnownNodes::at(Some(&folder.path().join("new/known_nodes"))).unwrap();
        if !text.is_empty() {
            std::fs::create_dir(folder.path().join("new")).unwrap();
            std::fs::write(nodes.path(), text).unwrap();
        }
        (folder, nodes)
    }

    #[test]
    fn the_first_key_is_kept_and_private() {
        let (_folder, nodes) = file_with("");
        assert_eq!(nodes.find(&target("a:1")).unwrap(), None);
        assert_eq!(nodes.record(&target("a:1"), key(1)).unwrap(), None);
        assert_eq!(nodes.record(&target("a:2"), key(2)).unwrap(), None);
        let known = Known {
            key: key(1),
            line: 1,
        };
        assert_eq!(nodes.find(&target("A:1")).unwrap(), Some(known));
        assert_eq!(nodes.record(&target("a:1"), key(9)).unwrap(), Some(known));
        assert_eq!(nodes.find(&target("a:3")).unwrap(), None);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(nodes.path()), 0o600);
        assert_eq!(mode(nodes.path().parent().unwrap()), 0o700);
    }

    #[test]
    fn comments_and_blank_lines_and_a_missing_line_feed() {
        let text = format!("# mine\n\n  a:1\t{}  # home\nb:1 {}", key(1), key(2));
        let (_folder, nodes) = file_with(&text);
        assert_eq!(nodes.find(&target("a:1")).unwrap().unwrap().line, 3);
        nodes.record(&target("[::1]:1"), key(3)).unwrap();
        let known = nodes.find(&target("[::1]:1")).unwrap().unwrap();
        assert_eq!((known.key, known.line), (key(3), 5));
        assert_eq!(nodes.find(&target("b:1")).unwrap().unwrap().key, key(2));
    }

    #[test]
    fn faults_come_with_file_and_line() {
        for (text, expected) in [
            (
                "a:1\n",
                "known_nodes:1: expected \"host:port ed25519:hex\", found 1 word(s)",
            ),
            ("#\na:1 ed25519:00", "known_nodes:2: a node key has 64"),
            ("a:1 x y z\n", "found 4 word(s)"),
        ] {
            let (_folder, nodes) = file_with(text);
            for error in [
                nodes.find(&target("b:1")).unwrap_err(),
                nodes.record(&target("b:1"), key(1)).unwrap_err(),
            ] {
                assert!(error.to_string().contains(expected), "{error}");
            }
            assert_eq!(std::fs::read_to_string(nodes.path()).unwrap(), text);
        }
        let (_folder, nodes) = file_with(&format!("a:1 {}\na:1 {}\n", key(1), key(2)));
        let error = nodes.find(&target("a:1")).unwrap_err();
        assert!(error.to_string().contains("lines 1 and 2"), "{error}");
    }

    #[test]
    fn many_at_once_lose_no_line() {
        let (_folder, nodes) = file_with("");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let nodes = &nodes;
                scope.spawn(move || {
                    for i in 0..25 {
                        let target = target(&format!("host-{thread}-{i}"));
                        assert_eq!(nodes.record(&target, key(thread)).unwrap(), None);
                    }
                });
            }
        });
        let text = std::fs::read_to_string(nodes.path()).unwrap();
        assert_eq!(text.lines().count(), 200);
        assert!(nodes.find(&target("host-7-24")).unwrap().is_some());
    }
}
