//! The `ssh_config` stanza that a fresh node shows its owner.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use alknet_quic::openssh::Stanza;

use crate::init::beside_the_program;
use crate::node::Node;

/// The name under which the owner reaches the node.
pub(crate) const ALIAS: &str = "alknet";

/// The stanza, or why there is none.
pub(crate) fn for_node(node: &Node, identity_file: Option<&Path>) -> Result<String, String> {
    let program = beside_the_program("alknet").ok_or(
        "the program `alknet` does not lie beside this one; build it and use `alknet ssh-config`",
    )?;
    let host_key = node.host_keys().first().ok_or("the node has no host key")?;
    Stanza {
        alias: ALIAS,
        target: &reachable(node.addr()).to_string(),
        node_key: node.node_key(),
        host_key: &host_key.public_line,
        program: &program,
        identity_key: None,
        identity_file,
        user: None,
    }
    .render()
    .map_err(|error| error.to_string())
}

/// An address to connect to: a node that listens on all has this machine's.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
