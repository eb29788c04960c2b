//! The `ssh_config` stanza that `up` shows the node's owner, and the files by
//! which the owner's own clients know the node.

use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use alknet_openssh::Stanza;

use crate::cli::setup::init::beside_the_program;
use crate::cli::setup::nodes_entry::NodesEntry;
use crate::cli::setup::ssh_include;
use crate::node::Node;
use crate::state::{StateDir, home};

/// The name under which the owner reaches the node.
pub(crate) const ALIAS: &str = "alknet";

/// The stanza, or the reason for which it cannot be written.
pub(crate) fn for_node(node: &Node, identity_file: Option<&Path>) -> Result<String, String> {
    let program = beside_the_program("alknet").ok_or(
        "the program `alknet` does not lie beside this one; build it and use `alknet ssh-config`",
    )?;
    let host_key = node.host_keys().first().ok_or("the node has no host key")?;
    let tcp = node.tcp_addr().map(|addr| reachable(addr).to_string());
    Stanza {
        alias: ALIAS,
        target: &reachable(node.addr()).to_string(),
        node_key: &node.node_key().to_string(),
        host_key: &host_key.public_line,
        program: &program,
        identity_key: None,
        tcp: tcp.as_deref(),
        identity_file,
        user: None,
    }
    .render()
    .map_err(|error| error.to_string())
}

/// An address to connect to: for a node that listens on all addresses, the
/// loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The files by which the owner's own clients know the node.
pub(crate) struct ClientConfig {
    /// The client `alknet`'s directory of configuration.
    directory: PathBuf,
    /// The directory of ssh's configuration.
    ssh: PathBuf,
}

impl ClientConfig {
    /// The files of the caller; `None` where there is no home directory.
    pub(crate) fn of_caller() -> Option<Self> {
        let home = home()?;
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.filter(|path| path.is_absolute());
        Some(Self {
            directory: config
                .unwrap_or_else(|| home.join(".config"))
                .join("alknet"),
            ssh: home.join(".ssh"),
        })
    }

    /// Has ssh and `alknet` know the node by its name; says what came of it, a
    /// line each, and where the stanza is if ssh reads it.
    pub(crate) fn put(
        &self,
        node: &Node,
        state: &StateDir,
        identity_file: Option<&Path>,
        stanza: &str,
    ) -> (Vec<String>, Option<PathBuf>) {
        let nodes = self.directory.join("nodes.toml");
        match self.put_entry(&nodes, node, state, identity_file) {
            Ok(_) => {}
            // Then the name is not this node's for ssh either.
            Err(why) => {
                return (
                    vec![format!("try       not by the name {ALIAS}: {why}")],
                    None,
                );
            }
        }
        let config = self.ssh.join("config");
        let ours = self.directory.join("ssh_config");
        let mut lines = vec![format!(
            "try       alknet exec {ALIAS} uname -a; alknet cp FILE {ALIAS}: (by {})",
            nodes.display()
        )];
        let included = ssh_include::include(&config, &ours, ALIAS, stanza);
        let is_included = included.is_ok();
        lines.push(match included {
            Err(why) => format!("try       not `ssh {ALIAS}`: {why}"),
            Ok(_) => format!(
                "try       ssh{} {ALIAS}; scp, sftp, rsync, git and editors too (by {}, which includes {})",
                match self.is_where_ssh_looks() {
                    true => String::new(),
                    // ssh goes by passwd(5), not by HOME.
                    false => format!(" -F {}", config.display()),
                },
                config.display(),
                ours.display()
            ),
        });
        (lines, is_included.then_some(ours))
    }

    fn put_entry(
        &self,
        nodes: &Path,
        node: &Node,
        state: &StateDir,
        identity_file: Option<&Path>,
    ) -> Result<(), String> {
        for directory in [&self.directory, &self.ssh] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        }
        let host_key = node.host_keys().first().ok_or("the node has no host key")?;
        let host_key = host_key.public_line.split_whitespace().take(2);
        let tcp = node.tcp_addr().map(|addr| reachable(addr).to_string());
        let entry = NodesEntry {
            name: ALIAS,
            address: &reachable(node.addr()).to_string(),
            node_key: &node.node_key().to_string(),
            host_key: &host_key.collect::<Vec<_>>().join(" "),
            tcp: tcp.as_deref(),
            identity_file,
            state: state.root(),
        };
        let written = entry.put_into(nodes);
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Whether ssh finds its configuration here by itself.
    fn is_where_ssh_looks(&self) -> bool {
        let own = rustix::process::getuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = users
            .lines()
            .find(|line| line.split(':').nth(2) == Some(&own));
        let home = entry.and_then(|entry| entry.split(':').nth(5));
        // An account from elsewhere has the home that HOME says, as a rule.
        home.is_none_or(|home| Path::new(home).join(".ssh") == self.ssh)
    }
}
