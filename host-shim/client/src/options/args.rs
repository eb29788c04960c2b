//! The command line of `alknet`. Its comments are the help texts.

// The comments are help texts: brackets in them are not links.
#![allow(rustdoc::broken_intra_doc_links)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use alknet_manual::{CompletionsArgs, ManArgs};
use alknet_quic::{Congestion, NodeKey, TransportSettings};
use clap::{ArgAction, Parser, Subcommand};

use super::address::NodeName;
use super::complete;
use super::forward_spec::{Listen, LocalForward, RemoteForward};
use super::sharing::Order;
use super::ssh_options::GivenOption;
use super::target::Target;

/// Reach an alknet node over QUIC.
#[derive(Debug, Parser)]
#[command(name = "alknet", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what happens, on standard error
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect standard input and output to a node's SSH service, or another
    ///
    /// Meant for the ProxyCommand of ssh; with --alpn, for trying out any
    /// protocol that a plugin serves. Ends when the node does: with status
    /// 0 if it ended the stream as it should, with 255 and one line on
    /// standard error otherwise.
    Connect(ConnectArgs),
    /// Copy files and directories to a node or from it
    ///
    /// A file gets its name only when all of it has arrived and its SHA-256 is
    /// that of the source; until then it is called .NAME.alknet-part. After an
    /// interruption the same command goes on where it stopped. When the
    /// connection is lost, that happens by itself. Links are followed.
    Cp(CpArgs),
    /// Keep a connection for others: started by exec, in the background
    #[command(hide = true)]
    ConnectionMaster(SessionArgs),
    /// Run a command on a node, or a shell
    ///
    /// As ssh does: standard input, output and error are the command's; so is
    /// the exit status, 128 + N if signal N ended it, and 255 if there was an
    /// error of ours. On a terminal, Enter ~ . ends the connection.
    Exec(ExecArgs),
    /// Carry connections to the node and back, as ssh -N -L, -R and -D do
    ///
    /// Runs until it is told to end. A lost connection to the node is made
    /// again after 1, 2, 4 and at most 30 seconds; our listeners stay open
    /// meanwhile, and the node is asked to listen again for -R. What was being
    /// carried at that moment is broken off.
    Forward(ForwardArgs),
    /// List the keys to log in with, or add one to the agent
    Keys(KeysArgs),
    /// Get a certificate from a node that signs, and log in with it elsewhere
    ///
    /// The node knows you by the key of the handshake (--identity-key), which its
    /// operator has in your entry under `node_keys`. The certificate is for a fresh
    /// key that the ssh-agent keeps for as long as it is valid; without an agent,
    /// both become files, see --key. Run it again to renew it.
    Login(LoginCertificateArgs),
    /// Measure how far a node is, and say what it is
    Ping(PingArgs),
    /// Run a SOCKS5, SOCKS4a and HTTP CONNECT proxy that connects from the node
    ///
    /// Names are resolved by the node. As for forward, a lost connection is
    /// made again.
    Socks(SocksArgs),
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

/// The node of a command, and how it is recognised.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node: a name from nodes.toml, or an address
    ///
    /// An address is HOST[:PORT], with IPv6 in brackets and port 4433 if none
    /// is given, or ed25519:HEX@HOST[:PORT] with the key the node must have, or
    /// iroh:ID@WAY,WAY… with the node's endpoint id and ways to it: an IP:PORT,
    /// the URL of a relay, or the word discovery.
    /// USER@ may stand before each. Names are looked up in alknet/nodes.toml in
    /// $XDG_CONFIG_HOME or ~/.config: a table for each, with address and, if
    /// wanted, node_key, host_key, user, identity_files, identity_key, tcp,
    /// offline_seconds and share: "10m" has exec keep its connection for ten minutes after the last use,
    /// for others to use.
    #[arg(value_name = "NODE", add = complete::nodes())]
    pub(crate) node: NodeName,
    /// The node's port, whatever NODE says
    #[arg(short, long)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// How a node is recognised, and how long it is waited for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReachArgs {
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
    /// How long a session outlives a network that is away, in seconds
    /// [default: 43200, which is 12 hours]
    ///
    /// The node has a limit of its own, and the lesser of both counts. Before
    /// the log-in it is 30 seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(30..=2_592_000), verbatim_doc_comment)]
    pub(crate) offline_seconds: Option<u32>,
    /// Where the node listens on TCP, for when UDP is blocked on the way
    ///
    /// It is tried when nothing has come over UDP for 3 seconds. The SSH host
    /// key must be known then. Not together with a key that is shown before SSH
    /// begins.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) tcp: Option<Target>,
    /// How fast to send, given what the path loses: cubic or adaptive
    ///
    /// It concerns what is sent to the node; the node has a setting of its own.
    #[arg(long, value_name = "NAME", default_value = "adaptive")]
    pub(crate) congestion: Congestion,
}

/// The interval at which a silent node is asked for a sign of life: a node that
/// has restarted tells only clients that ask.
const KEEP_ALIVE: Duration = Duration::from_millis(1500);

/// The settings by which a node is dialled.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) known_nodes: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) transport: TransportSettings,
    /// The protocol to ask for.
    pub(crate) alpn: Vec<u8>,
    /// Whether a connection to a silent node is given up once a new one would
    /// lead somewhere.
    pub(crate) redials: bool,
}

/// The protocol of the SSH plugin.
pub(crate) const SSH_ALPN: &str = "alknet/ssh";

impl NodeArgs {
    /// The settings to dial it with, with the usual windows and timeouts.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            known_nodes: self.reach.known_nodes.clone(),
            timeout: self.reach.timeout,
            transport: TransportSettings {
                keep_alive_interval: KEEP_ALIVE,
                congestion: self.reach.congestion,
                ..TransportSettings::default()
            },
            alpn: SSH_ALPN.into(),
            redials: false,
        }
    }
}

/// The user who logs in, and how the SSH server is recognised.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoginArgs {
    /// A private key to log in with; may be given several times
    ///
    /// The certificate beside it (FILE-cert.pub) is used if there is one.
    /// Without it, the keys of the agent and ~/.ssh/id_ed25519, id_ecdsa and
    /// id_rsa are tried.
    #[arg(short = 'i', value_name = "FILE")]
    pub(crate) identity_files: Vec<PathBuf>,
    /// The user to log in as
    #[arg(short = 'l', value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The SSH host key the node must have, as it prints it
    #[arg(long, value_name = "'ssh-ed25519 AAAA…'")]
    pub(crate) host_key: Option<String>,
    /// An option of ssh: StrictHostKeyChecking, UserKnownHostsFile,
    /// GlobalKnownHostsFile, BatchMode, IdentitiesOnly or IdentityAgent; for
    /// exec also ControlMaster, ControlPath and ControlPersist
    ///
    /// With ControlMaster=auto, a background process keeps the connection, and
    /// later commands run over it without a log-in: as long as one of them
    /// runs, and with ControlPersist=10m ten minutes longer. ControlPath is the
    /// socket it is found at; without it, that is a file of a private directory,
    /// another for each node, user and set of keys and options.
    #[arg(short = 'o', value_name = "NAME=VALUE")]
    pub(crate) options: Vec<GivenOption>,
}

/// All that leads to a logged-in SSH connection.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// The node's port, whatever NODE says
    #[arg(short = 'P', value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Copy directories, with all that is in them
    #[arg(short = 'r')]
    pub(crate) recursive: bool,
    /// Keep times and permissions as they are
    #[arg(short = 'p')]
    pub(crate) preserve: bool,
    /// What to copy, and last where to: either all sources or the target are at
    /// a node
    ///
    /// NODE:PATH is a file or directory at a node, where a PATH that does not begin
    /// with / begins at your home. NODE may be all that other commands take. A
    /// file of ours with a colon in its name is written ./NAME.
    #[arg(value_name = "SOURCE… TARGET", required = true, num_args = 2.., add = complete::nodes_and_files())]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Run it on a terminal; twice even if standard input is not one
    #[arg(short = 't', action = ArgAction::Count)]
    pub(crate) terminal: u8,
    /// Do not run it on a terminal
    #[arg(short = 'T', conflicts_with = "terminal")]
    pub(crate) no_terminal: bool,
    /// Leave standard input alone
    #[arg(short = 'n')]
    pub(crate) no_input: bool,
    /// Tell the process that keeps the connection: check whether it runs; exit
    /// at once; stop letting further commands in
    #[arg(short = 'O', value_name = "ORDER", conflicts_with = "command")]
    pub(crate) order: Option<Order>,
    /// The command, put together with spaces; a shell if there is none
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
#[group(id = "forwards", required = true, multiple = true, args = ["local", "remote", "dynamic"])]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Listen here; the node connects
    ///
    /// [BIND:]PORT:HOST:PORT, where HOST is resolved by the node; the path of a
    /// Unix socket may stand for either end. IPv6 goes in brackets. Without
    /// BIND only this machine can connect, with * all can.
    #[arg(short = 'L', value_name = "SPEC", verbatim_doc_comment)]
    pub(crate) local: Vec<LocalForward>,
    /// The node listens; we connect
    ///
    /// As -L with the ends exchanged. [BIND:]PORT alone makes the node a
    /// SOCKS proxy that connects from this machine. With port 0 the node chooses one.
    #[arg(short = 'R', value_name = "SPEC", verbatim_doc_comment)]
    pub(crate) remote: Vec<RemoteForward>,
    /// Listen here for SOCKS5, SOCKS4a and HTTP CONNECT; the node connects
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    pub(crate) dynamic: Vec<Listen>,
    /// Let other machines connect to listeners without BIND
    #[arg(short = 'g')]
    pub(crate) open: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SocksArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Where to listen; with * as BIND for other machines too
    #[arg(long, value_name = "[BIND:]PORT", default_value = "127.0.0.1:1080")]
    pub(crate) listen: Listen,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys in ~/.ssh and in the agent (the default)
    List,
    /// Give a private key to the agent, which keeps it until the agent ends
    Add {
        /// The private key; the usual ones if none is named
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoginCertificateArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// The private key to certify; the certificate is written beside it as ssh
    /// expects it (FILE-cert.pub) [default: a fresh one in the agent, or without an
    /// agent alknet/login_key in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) key: Option<PathBuf>,
    /// A name to be valid for [default: all that the node gives you]
    #[arg(long = "principal", value_name = "NAME")]
    pub(crate) principals: Vec<String>,
    /// A scope to be limited to [default: all that you have]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// An account to be limited to [default: all that you have]
    #[arg(long = "account", value_name = "NAME")]
    pub(crate) accounts: Vec<String>,
    /// How long it is to be valid, in seconds [default: as long as the node signs]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) lifetime: Option<u64>,
    /// Stay, and renew it when two thirds of its time are over
    #[arg(long)]
    pub(crate) renew: bool,
    /// Where to write whose host certificates are believed
    /// [default: ~/.ssh/known_hosts]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) known_hosts: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// How many round trips to measure, one a second
    #[arg(short = 'c', value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// The protocol to speak, as the plugin that serves it calls it
    #[arg(long, value_name = "ALPN", default_value = SSH_ALPN, value_parser = alpn)]
    pub(crate) alpn: String,
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

/// Reads an ALPN: 1 to 255 bytes (RFC 7301 section 3.1).
fn alpn(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        length => Err(format!("expected 1 to 255 bytes, found {length}")),
    }
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
