//! The file `nodes.toml`: the nodes that a user has names for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, io};

use alknet_quic::NodeKey;
use serde::{Deserialize, Deserializer, de};

use super::address::Address;
use super::places;
use super::sharing::Share;
use super::target::Target;

/// The nodes a user has names for: `alknet/nodes.toml` in `$XDG_CONFIG_HOME`
/// or `~/.config`, a table for each.
#[derive(Debug, Default)]
pub(crate) struct NodesFile {
    nodes: BTreeMap<String, Entry>,
}

/// The entry of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The address it listens on: `HOST[:PORT]` or `ed25519:HEX@HOST[:PORT]`, or
    /// `iroh:ID@WAY,WAY…`.
    #[serde(deserialize_with = "parsed")]
    pub(crate) address: Address,
    /// The key it has in TLS, as `alknet-node` prints it.
    #[serde(default, deserialize_with = "parsed_if_any")]
    pub(crate) node_key: Option<NodeKey>,
    /// Its SSH host key, as `alknet-node` prints it.
    pub(crate) host_key: Option<String>,
    /// The user to log in as.
    pub(crate) user: Option<String>,
    /// The private keys to log in with.
    #[serde(default)]
    pub(crate) identity_files: Vec<PathBuf>,
    /// The private key to show in the handshake.
    pub(crate) identity_key: Option<PathBuf>,
    /// The address it listens on over TCP, for when UDP is blocked:
    /// `HOST:PORT`.
    #[serde(default, deserialize_with = "parsed_if_any")]
    pub(crate) tcp: Option<Target>,
    /// The time for which a session outlives a network that is away, in
    /// seconds.
    #[serde(default, deserialize_with = "offline_seconds")]
    pub(crate) offline_seconds: Option<u32>,
    /// Whether, and for how long, exec keeps its connection for others.
    pub(crate) share: Option<Share>,
}

impl NodesFile {
    /// Reads the user's file; without a home directory there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn of_user() -> Result<Self, NodesFileError> {
        let directory = places::config_directory();
        let file = directory.map(|directory| Self::read(&directory.join("nodes.toml")));
        file.unwrap_or_else(|| Ok(Self::default()))
    }

    /// The file at `path`; one that does not exist names no node.
    pub(crate) fn read(path: &Path) -> Result<Self, NodesFileError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(NodesFileError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let nodes = toml::from_str(&text).map_err(|error: toml::de::Error| {
            let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
            NodesFileError::Malformed {
                path: path.to_owned(),
                line,
                column,
                fault: error.message().to_owned(),
            }
        })?;
        Ok(Self { nodes })
    }

    /// The names, in order.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        self.nodes.into_keys()
    }

    /// The node of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Entry> {
        self.nodes.get(name)
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesFileError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}:{line}:{column}: {fault}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        column: usize,
        fault: String,
    },
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default();
    (before.matches('\n').count() + 1, column.chars().count() + 1)
}

fn parsed<'de, D: Deserializer<'de>>(input: D) -> Result<Address, D::Error> {
    String::deserialize(input)?
        .parse()
        .map_err(de::Error::custom)
}

fn parsed_if_any<'de, D, T>(input: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(input)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn offline_seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(input)? {
        seconds @ 30..=2_592_000 => Ok(Some(seconds)),
        _ => Err(de::Error::custom(
            "expected a number of seconds from 30 to 2592000",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<NodesFile, NodesFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.toml");
        std::fs::write(&path, text).unwrap();
        NodesFile::read(&path)
    }

    #[test]
    fn a_node_has_a_name_and_all_that_leads_to_it() {
        let key = NodeKey::from_bytes([7; 32]);
        let text = format!(
            "[home]\naddress = \"node.example\"\nnode_key = \"{key}\"\nuser = \"me\"\n\
             [\"lab-2\"]\naddress = \"{key}@[::1]:5\"\n"
        );
        let file = file(&text).unwrap();
        let home = file.find("home").unwrap();
        assert_eq!(home.address.target.to_string(), "node.example:4433");
        assert_eq!(home.node_key, Some(key));
        assert_eq!(file.find("lab-2").unwrap().address.node_key, Some(key));
        assert!(file.find("other").is_none());
        let missing = NodesFile::read(Path::new("/nonexistent/nodes.toml")).unwrap();
        assert!(missing.find("home").is_none());
    }

    #[test]
    fn faults_have_their_place() {
        for (text, expected) in [
            ("[a]\naddress = 5\n", "nodes.toml:2:11: invalid type"),
            ("[a]\n", "nodes.toml:1:1: missing field `address`"),
            (
                "[a]\naddress = \"h:x\"\n",
                "nodes.toml:2:11: the port must be",
            ),
            (
                "[a]\naddress = \"h\"\nkey = 1\n",
                "nodes.toml:3:1: unknown field `key`",
            ),
            (
                "[a]\naddress = \"h\"\nshare = \"x\"\n",
                "nodes.toml:3:9: expected true, false or a time",
            ),
            ("[a\n", "nodes.toml:1:3: "),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
