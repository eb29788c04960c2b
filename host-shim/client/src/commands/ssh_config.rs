//! `alknet ssh-config`: prints the `ssh_config` stanza of a node.

use std::io::Write as _;
use std::path::Path;

use alknet_openssh::Stanza;

use crate::connection::dial::dial_verified;
use crate::connection::host_key;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::SshConfigArgs;
use crate::options::places;

/// `alknet ssh-config`: prints what stock ssh needs to reach the node.
pub(crate) async fn run(args: &SshConfigArgs, terminal: Terminal) -> Result<(), Failure> {
    let node = args.node.node()?;
    let host_key = args.host_key.as_ref().or(node.host_key.as_ref());
    let (node_key, host_key) = match (node.node_key, host_key) {
        (Some(node_key), Some(host_key)) => (node_key, host_key.clone()),
        (_, given) => {
            let link = dial_verified(&node, &args.node.settings(), terminal).await?;
            let node_key = link.node_key();
            let host_key = match given {
                Some(host_key) => Ok(host_key.clone()),
                None => host_key::fetch(&link).await,
            };
            link.close().await;
            (node_key, host_key?)
        }
    };
    let program = std::env::current_exe().map_err(Failure::own_path)?;
    let named = node
        .identity_files
        .first()
        .map(|file| places::expanded(file));
    let absolute = |path: Option<&Path>| {
        let path = path.map(std::path::absolute);
        path.transpose().map_err(Failure::own_path)
    };
    let identity_file = absolute(args.identity_file.as_deref().or(named.as_deref()))?;
    let identity_key = absolute(node.identity_key.as_deref())?;
    let tcp = node.tcp.as_ref().map(ToString::to_string);
    let stanza = Stanza {
        alias: &args.name,
        target: &node.address(),
        node_key: &node_key.to_string(),
        host_key: &host_key,
        program: &program,
        identity_key: identity_key.as_deref(),
        tcp: tcp.as_deref(),
        identity_file: identity_file.as_deref(),
        user: args.user.as_deref().or(node.user.as_deref()),
    };
    let stanza = stanza.render()?;
    let text = format!("# For ~/.ssh/config; then: ssh {}\n{stanza}", args.name);
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::stdio)
}
