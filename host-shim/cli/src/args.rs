use std::path::PathBuf;
use std::time::Duration;

use alknet_manual::{CompletionsArgs, ManArgs};
use alknet_quic::NodeKey;
use clap::{ArgAction, Parser, Subcommand};

use crate::target::Target;

/// Reach an alknet node over QUIC.
#[derive(Debug, Parser)]
#[command(name = "alknet", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what happens, on standard error
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect standard input and output to a node's SSH service
    ///
    /// Meant for the ProxyCommand of ssh. Ends when the node does: with status
    /// 0 if it ended the stream as it should, with 255 and one line on
    /// standard error otherwise.
    Connect(ConnectArgs),
    /// Print the lines for ~/.ssh/config that make `ssh NAME` reach a node
    ///
    /// Asks the node for its SSH host key unless --host-key gives it. Append
    /// the output to ~/.ssh/config.
    SshConfig(SshConfigArgs),
    /// Print what an identity key is called in a node's list of peers
    ///
    /// The line belongs under `node_keys` of the peer.
    IdentityKey(IdentityKeyArgs),
    /// Print what makes a shell complete these commands
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
}

/// Which node, and how to know it.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node's address; IPv6 in brackets, port 4433 if none is given
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) target: Target,
    /// The key the node must have, as `alknet-node` prints it
    ///
    /// Without it the key the node presents the first time is trusted and
    /// remembered in the known-nodes file.
    #[arg(long, value_name = "ed25519:HEX")]
    pub(crate) node_key: Option<NodeKey>,
    /// Where trusted node keys are remembered
    /// [default: alknet/known_nodes in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) known_nodes: Option<PathBuf>,
    /// The Ed25519 private key to show the node before SSH begins
    ///
    /// For nodes that log in by it, or ask for it beside the SSH key. As
    /// `ssh-keygen -t ed25519` writes it, without a passphrase; the node knows
    /// it by the name that `alknet identity-key FILE` prints.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_key: Option<PathBuf>,
    /// How long to wait for an answer, in seconds, at most 30
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdentityKeyArgs {
    /// The private key
    pub(crate) file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// What to type after `ssh`
    #[arg(long, default_value = "alknet")]
    pub(crate) name: String,
    /// The node's SSH host key, if the node should not be asked
    #[arg(long, value_name = "'ssh-ed25519 AAAA…'")]
    pub(crate) host_key: Option<String>,
    /// The user to log in as
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// The private key to log in with
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_file: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=30) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a whole number of seconds from 1 to 30".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn faults_in_arguments_are_explained() {
        let fault = |args: &[&str]| {
            let args = [&["alknet", "connect"], args].concat();
            Args::try_parse_from(args).unwrap_err().to_string()
        };
        assert!(fault(&["h", "--node-key", "abc"]).contains("64 hexadecimal digits"));
        assert!(fault(&["h:x"]).contains("port"));
        assert!(fault(&["h", "--timeout", "0"]).contains("seconds"));
    }
}
