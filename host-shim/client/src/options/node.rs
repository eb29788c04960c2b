//! A node as it is named on the command line, and all that is known of it
//! before it is asked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use alknet_quic::{NodeKey, NodeKeyError};

use super::args::NodeArgs;
use super::nodes_file::{NodesFile, NodesFileError};
use super::places;
use super::target::{Target, TargetError};
use crate::control_master::Share;

/// A node as it is named on the command line: `[USER@]` and then a name from
/// `nodes.toml`, `ed25519:HEX@HOST[:PORT]` or `HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName {
    user: Option<String>,
    text: String,
    address: Result<Address, AddressError>,
}

/// The address of a node, with its key where that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) node_key: Option<NodeKey>,
    pub(crate) target: Target,
}

/// All that is known of a node before it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) target: Target,
    /// The key it must have in TLS; otherwise the known-nodes file decides.
    pub(crate) node_key: Option<NodeKey>,
    /// The SSH host key it must have, as the user wrote it.
    pub(crate) host_key: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) identity_files: Vec<PathBuf>,
    /// The key to show in the handshake.
    pub(crate) identity_key: Option<PathBuf>,
    /// The address at which it listens on TCP.
    pub(crate) tcp: Option<Target>,
    /// The time for which a session outlives a network that is away, in
    /// seconds.
    pub(crate) offline_seconds: Option<u32>,
    /// Whether, and for how long, exec keeps its connection for others.
    pub(crate) share: Option<Share>,
}

impl NodeName {
    /// The name as it was given, without the user.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name as it was given.
    pub(crate) fn whole(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.text),
            None => self.text.clone(),
        }
    }
}

impl NodeArgs {
    /// Looks the node up; the command line takes precedence over the file.
    pub(crate) fn node(&self) -> Result<Node, NodeError> {
        let name = &self.node;
        let entry = if name.text.contains([':', '@']) {
            None
        } else {
            let folder = places::config_folder();
            let nodes = folder.map(|folder| NodesFile::read(&folder.join("nodes.toml")));
            nodes
                .transpose()?
                .unwrap_or_default()
                .find(&name.text)
                .cloned()
        };
        let mut node = match entry {
            Some(entry) => Node {
                node_key: entry.node_key.or(entry.address.node_key),
                target: entry.address.target,
                host_key: entry.host_key,
                user: entry.user,
                identity_files: entry.identity_files,
                identity_key: entry.identity_key.map(|path| places::expanded(&path)),
                tcp: entry.tcp,
                offline_seconds: entry.offline_seconds,
                share: entry.share,
            },
            None => {
                let address = name.address.clone()?;
                Node {
                    target: address.target,
                    node_key: address.node_key,
                    host_key: None,
                    user: None,
                    identity_files: Vec::new(),
                    identity_key: None,
                    tcp: None,
                    offline_seconds: None,
                    share: None,
                }
            }
        };
        if let Some(port) = self.port {
            node.target.port = port;
        }
        node.node_key = self.reach.node_key.or(node.node_key);
        node.identity_key = self.reach.identity_key.clone().or(node.identity_key);
        node.tcp = self.reach.tcp.clone().or(node.tcp);
        node.offline_seconds = self.reach.offline_seconds.or(node.offline_seconds);
        node.user = name.user.clone().or(node.user);
        Ok(node)
    }
}

/// Why a node cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    File(#[from] NodesFileError),
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl FromStr for NodeName {
    type Err = AddressError;

    /// Reads a name; fails for a text that is neither a name nor an address.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, text) = match text.split_once('@') {
            Some((key, _)) if key.starts_with(KEY_PREFIX) => (None, text),
            Some(("", _)) => return Err(AddressError::NoUser),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let address = text.parse();
        if let Err(error) = &address
            && text.contains([':', '@'])
        {
            return Err(AddressError::clone(error));
        }
        if text.is_empty() {
            return Err(TargetError::NoHost.into());
        }
        Ok(Self {
            user,
            text: text.to_owned(),
            address,
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (node_key, target) = match text.split_once('@') {
            Some((key, target)) => (Some(key.parse()?), target),
            None => (None, text),
        };
        Ok(Self {
            node_key,
            target: target.parse()?,
        })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const KEY_PREFIX: &str = "ed25519:";

/// Why a text does not name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the user before the @ is missing")]
    NoUser,
    #[error("{0}")]
    Key(#[from] NodeKeyError),
    #[error("{0}")]
    Target(#[from] TargetError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_keys_and_addresses_are_told_apart() {
        let key = NodeKey::from_bytes([7; 32]);
        let name = |text: &str| text.parse::<NodeName>().unwrap();
        assert_eq!(name("me@home").user.as_deref(), Some("me"));
        assert_eq!(name("home").user, None);
        let pinned = name(&format!("{key}@[::1]:5"));
        assert_eq!(pinned.user, None);
        assert_eq!(pinned.address.unwrap().node_key, Some(key));
        let both = name(&format!("me@{key}@host"));
        assert_eq!(both.user.as_deref(), Some("me"));
        assert_eq!(both.address.unwrap().target.to_string(), "host:4433");
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| text.parse::<NodeName>().unwrap_err().to_string();
        assert!(fault("h:x").contains("port"));
        assert!(fault("ed25519:12@h").contains("64 hexadecimal digits"));
        assert!(fault("@h").contains("user"));
        assert!(fault("").contains("host"));
    }
}
