//! A node as it is named on the command line, and all that is known of it
//! before it is asked.

use std::path::PathBuf;
use std::time::Duration;

use alknet_quic::{NodeKey, TransportSettings};

use super::address::AddressError;
use super::args::{NodeArgs, Settings};
use super::iroh_address::IrohAddress;
use super::nodes_file::{NodesFile, NodesFileError};
use super::places;
use super::sharing::Share;
use super::target::Target;

/// All that is known of a node before it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) target: Target,
    /// The ways to it through iroh, if it is reached so.
    pub(crate) iroh: Option<Box<IrohAddress>>,
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

impl NodeArgs {
    /// Looks the node up; the command line takes precedence over the file.
    pub(crate) fn node(&self) -> Result<Node, NodeError> {
        let name = &self.node;
        let entry = if name.text.contains([':', '@']) {
            None
        } else {
            NodesFile::of_user()?.find(&name.text).cloned()
        };
        let mut node = match entry {
            Some(entry) => Node {
                node_key: entry.node_key.or(entry.address.node_key),
                target: entry.address.target,
                iroh: entry.address.iroh,
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
                    iroh: address.iroh,
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
        match (self.port, &node.iroh) {
            (Some(_), Some(_)) => return Err(NodeError::Port),
            (Some(port), None) => node.target.port = port,
            (None, _) => {}
        }
        node.node_key = self.reach.node_key.or(node.node_key);
        node.identity_key = self.reach.identity_key.clone().or(node.identity_key);
        node.tcp = self.reach.tcp.clone().or(node.tcp);
        node.offline_seconds = self.reach.offline_seconds.or(node.offline_seconds);
        node.user = name.user.clone().or(node.user);
        if let (Some(iroh), Some(expected)) = (&node.iroh, node.node_key)
            && iroh.key != expected
        {
            return Err(NodeError::Keys {
                id: iroh.id(),
                expected,
            });
        }
        Ok(node)
    }
}

impl Node {
    /// The windows and timeouts of a connection to it.
    pub(crate) fn transport(&self, settings: &Settings) -> TransportSettings {
        let mut transport = settings.transport.clone();
        if let Some(seconds) = self.offline_seconds {
            transport.idle_timeout = Duration::from_secs(seconds.into());
        }
        transport
    }

    /// Its address as [`NodeArgs`] take it.
    pub(crate) fn address(&self) -> String {
        match &self.iroh {
            Some(iroh) => iroh.to_string(),
            None => self.target.to_string(),
        }
    }
}

/// Why a node cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    File(#[from] NodesFileError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("a node that is reached through iroh has its ports in its address: leave -p out")]
    Port,
    #[error("the node key {expected} is asked for, and the endpoint id {id} is another key")]
    Keys { id: String, expected: NodeKey },
}
