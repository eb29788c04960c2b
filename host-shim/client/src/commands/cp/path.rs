//! The paths of `alknet cp`, in the syntax of scp(1).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use alknet_text::visible_bytes;

use crate::options::address::{AddressError, NodeName};
use crate::options::iroh_address::{self, length_before_colon};

/// The sources and the target of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Whether the target is at the node; else the sources are.
    pub(super) to_node: bool,
    pub(super) sources: Vec<Vec<u8>>,
    pub(super) target: Vec<u8>,
}

/// Why the paths of the command line are not a copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathsError {
    #[error("{text:?}: {error}")]
    Node { text: String, error: AddressError },
    #[error("{text:?}: the name of a node is not UTF-8")]
    NotUtf8 { text: OsString },
    #[error("neither end is at a node: write one as NODE:PATH")]
    BothHere,
    #[error("both ends are at nodes: copy to this machine first, and then on")]
    BothThere,
    #[error("the sources are at different nodes: copy from one after the other")]
    SeveralNodes,
    #[error("a path is empty")]
    Empty,
}

impl Ends {
    /// Reads the arguments: sources, and last the target.
    pub(super) fn parse(paths: &[OsString]) -> Result<(NodeName, Self), PathsError> {
        let (target, sources) = paths.split_last().ok_or(PathsError::BothHere)?;
        let sources = sources
            .iter()
            .map(|path| Named::parse(path))
            .collect::<Result<Vec<_>, _>>()?;
        let (to_node, node, target) = match (Named::parse(target)?, sources.first()) {
            (Named::There(node, path), _) => (true, node, path),
            (Named::Here(path), Some(Named::There(node, _))) => (false, node.clone(), path),
            (Named::Here(_), _) => return Err(PathsError::BothHere),
        };
        let sources = sources
            .into_iter()
            .map(|source| match source {
                Named::Here(path) if to_node => Ok(path),
                Named::There(other, path) if !to_node && other == node => Ok(path),
                Named::There(..) if !to_node => Err(PathsError::SeveralNodes),
                Named::There(..) => Err(PathsError::BothThere),
                Named::Here(_) => Err(PathsError::BothHere),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let ends = Self {
            to_node,
            sources,
            target,
        };
        Ok((node, ends))
    }
}

/// One path on the command line.
enum Named {
    Here(Vec<u8>),
    There(NodeName, Vec<u8>),
}

impl Named {
    fn parse(text: &OsStr) -> Result<Self, PathsError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(PathsError::Empty);
        }
        let Some(end) = end_of_node(bytes) else {
            return Ok(Self::Here(bytes.to_vec()));
        };
        let (node, path) = bytes.split_at(end);
        let node = std::str::from_utf8(node).map_err(|_| PathsError::NotUtf8 {
            text: text.to_owned(),
        })?;
        let node = node.parse().map_err(|error| PathsError::Node {
            text: String::from_utf8_lossy(bytes).into_owned(),
            error,
        })?;
        let path = path.strip_prefix(b":").unwrap_or(path);
        Ok(Self::There(node, from_home(path)))
    }
}

/// The offset of the colon that ends the name of a node, if there is one:
/// before any slash, as in scp(1).
fn end_of_node(text: &[u8]) -> Option<usize> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let slash = text.iter().position(|byte| *byte == b'/');
    if slash.is_some_and(|slash| slash < colon) {
        return None;
    }
    let host = start_of_host(text);
    let rest = text.get(host..)?;
    if rest.starts_with(iroh_address::PREFIX.as_bytes()) {
        return length_before_colon(rest).map(|length| host + length);
    }
    let name = match rest.strip_prefix(b"[") {
        Some(address) => 2 + address.iter().position(|byte| *byte == b']')?,
        None => rest.iter().position(|byte| *byte == b':')?,
    };
    let after = rest.get(name..)?.strip_prefix(b":")?;
    // A port, if another colon ends it.
    let digits = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits > 0 && after.get(digits) == Some(&b':') {
        return Some(host + name + 1 + digits);
    }
    Some(host + name)
}

/// The offset after `USER@` and `ed25519:HEX@`, if they are there.
fn start_of_host(text: &[u8]) -> usize {
    const KEY: &[u8] = b"ed25519:";
    let mut start = 0;
    // At most a user and a key.
    for _ in 0..2 {
        let rest = text.get(start..).unwrap_or_default();
        let end = match rest.strip_prefix(KEY) {
            Some(key) => key
                .iter()
                .position(|byte| *byte == b'@')
                .map(|at| at + KEY.len()),
            None => rest
                .iter()
                .position(|byte| matches!(byte, b'@' | b':' | b'/'))
                .filter(|at| rest.get(*at) == Some(&b'@')),
        };
        match end {
            Some(at) => start += at + 1,
            None => break,
        }
    }
    start
}

/// The path for the server, which takes paths that do not begin with a slash
/// from the home directory.
fn from_home(path: &[u8]) -> Vec<u8> {
    match path {
        b"" | b"~" | b"~/" => b".".to_vec(),
        path => path.strip_prefix(b"~/").unwrap_or(path).to_vec(),
    }
}

/// A path made safe to show to people.
pub(super) fn shown(path: &[u8]) -> String {
    visible_bytes(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(&str, &str)> {
        let end = end_of_node(text.as_bytes())?;
        Some((&text[..end], text[end..].strip_prefix(':').unwrap()))
    }

    #[test]
    fn nodes_and_paths_are_told_apart() {
        let key = format!("ed25519:{}", "07".repeat(32));
        assert_eq!(split("home:a/b"), Some(("home", "a/b")));
        assert_eq!(split("home:"), Some(("home", "")));
        assert_eq!(split("me@home:/x:y"), Some(("me@home", "/x:y")));
        assert_eq!(split("host:22:x"), Some(("host:22", "x")));
        assert_eq!(split("host:22"), Some(("host", "22")));
        assert_eq!(split("host:22x:y"), Some(("host", "22x:y")));
        assert_eq!(split("[::1]:x"), Some(("[::1]", "x")));
        assert_eq!(split("me@[::1]:5:x@y"), Some(("me@[::1]:5", "x@y")));
        for node in [format!("{key}@h"), format!("me@{key}@h:4433")] {
            let text = format!("{node}:a:b");
            assert_eq!(split(&text), Some((node.as_str(), "a:b")));
        }
        for here in ["file", "./a:b", "/a:b", "a/b:c", "a@b", "[::1"] {
            assert_eq!(split(here), None, "{here}");
        }
    }

    #[test]
    fn one_end_is_here_and_the_other_there() {
        let parse = |texts: &[&str]| {
            let paths: Vec<OsString> = texts.iter().map(OsString::from).collect();
            Ends::parse(&paths)
        };
        let (node, ends) = parse(&["a", "b", "me@home:~/c"]).unwrap();
        assert_eq!(node.to_string(), "home");
        assert!(ends.to_node);
        assert_eq!(ends.sources, [b"a", b"b"]);
        assert_eq!(ends.target, b"c");
        let (_, ends) = parse(&["home:", "home:/b", "."]).unwrap();
        assert!(!ends.to_node);
        assert_eq!(ends.sources, [&b"."[..], b"/b"]);
        assert_eq!(parse(&["a", "b"]), Err(PathsError::BothHere));
        assert_eq!(parse(&["a", "h:b", "c"]), Err(PathsError::BothHere));
        assert_eq!(parse(&["h:a", "b", "c"]), Err(PathsError::BothHere));
        assert_eq!(parse(&["h:a", "h:b"]), Err(PathsError::BothThere));
        assert_eq!(parse(&["h:a", "i:b", "c"]), Err(PathsError::SeveralNodes));
        assert_eq!(parse(&["", "h:b"]), Err(PathsError::Empty));
        let fault = parse(&["a", "@h:b"]).unwrap_err().to_string();
        assert!(fault.contains("user"), "{fault}");
    }
}
