//! The stock OpenSSH client, configured for one node and apart from the
//! caller's own files.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alknet_openssh::Stanza;

use crate::{Background, Ended, Run, Sshd, TestKey, TestNode, Transport, artifacts};

/// Stock OpenSSH towards a node, apart from the caller's own configuration,
/// keys and agent.
pub struct Ssh {
    config: PathBuf,
}

/// The outcome of a connection through the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The connection was made, and the target answered.
    Served,
    /// The policy refused the connection.
    Prohibited,
    /// The connection was allowed, but could not be made.
    ConnectFailed,
    /// Something else happened; this is ssh's message.
    Otherwise(String),
}

/// The name of the node in the configuration.
const ALIAS: &str = "node";

impl Ssh {
    /// A client with the authorised key, by the stanza that our programs print.
    pub fn to(node: &TestNode) -> Self {
        Self::with_key(node, &node.setup.key)
    }

    /// As [`to`](Self::to), but finds the node at another address.
    pub fn at(node: &TestNode, addr: SocketAddr) -> Self {
        Self::by_stanza(node, &addr.to_string(), None, &node.setup.key)
    }

    /// As [`to`](Self::to), by any address that `alknet connect` takes.
    pub fn by_address(node: &TestNode, address: &str) -> Self {
        Self::by_stanza(node, address, None, &node.setup.key)
    }

    /// As [`at`](Self::at), by a stanza that names a TCP address as well.
    pub fn at_or_tcp(node: &TestNode, addr: SocketAddr, tcp: &str) -> Self {
        Self::by_stanza(node, &addr.to_string(), Some(tcp), &node.setup.key)
    }

    /// As [`to`](Self::to), with another key.
    pub fn with_key(node: &TestNode, key: &TestKey) -> Self {
        Self::by_stanza(node, &node.addr.to_string(), None, key)
    }

    fn by_stanza(node: &TestNode, address: &str, tcp: Option<&str>, key: &TestKey) -> Self {
        let stanza = Stanza {
            alias: ALIAS,
            target: address,
            node_key: &node.node_key.to_string(),
            host_key: &node.host_key,
            program: &artifacts().client,
            identity_key: None,
            tcp,
            identity_file: Some(&key.file),
            user: None,
        };
        let name = key.file.file_name().unwrap().to_str().unwrap();
        let config = node.setup.folder().join(format!("ssh_config_{name}"));
        let text = format!("{}{ISOLATED}", stanza.render().unwrap());
        fs::write(&config, text).unwrap();
        Self { config }
    }

    /// A client with the authorised key over plain TCP, without our client.
    pub fn over_tcp(node: &TestNode) -> Self {
        Self::over(Transport::Tcp, node, &node.setup.key)
    }

    /// A client over either transport, with any key.
    pub fn over(transport: Transport, node: &TestNode, key: &TestKey) -> Self {
        if transport == Transport::Quic {
            return Self::with_key(node, key);
        }
        let addr = node.tcp.expect("the node listens on TCP");
        Self::directly(addr, &node.host_key, key, node.setup.folder())
    }

    /// A client of a stock sshd, with the key that it lets in.
    pub fn to_sshd(sshd: &Sshd, key: &TestKey, folder: &Path) -> Self {
        Self::directly(sshd.addr, &sshd.host_key, key, folder)
    }

    fn directly(addr: SocketAddr, host_key: &str, key: &TestKey, folder: &Path) -> Self {
        let known_hosts = folder.join("known_hosts_tcp");
        let (host, port) = (addr.ip(), addr.port());
        fs::write(&known_hosts, format!("[{host}]:{port} {host_key}\n")).unwrap();
        let name = key.file.file_name().unwrap().to_str().unwrap();
        let config = folder.join(format!("ssh_config_tcp_{name}"));
        let text = format!(
            "Host {ALIAS}\n    HostName {host}\n    Port {port}\n    IdentityFile {}\n    \
             IdentitiesOnly yes\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n{ISOLATED}",
            key.file.display(),
            known_hosts.display()
        );
        fs::write(&config, text).unwrap();
        Self { config }
    }

    /// Adds lines of configuration, before all others.
    pub fn configure(&self, lines: &str) -> &Self {
        let text = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, format!("{lines}\n{text}")).unwrap();
        self
    }

    /// Starts `ssh -N` with some forwards, and waits until all of them listen.
    ///
    /// # Errors
    /// When ssh ends because a forward is refused.
    pub fn tunnel(&self, args: &[&str]) -> Result<Background, Ended> {
        let run = self
            .program("ssh")
            .args(["-v", "-N", "-o", "ExitOnForwardFailure=yes"])
            .args(args)
            .arg(ALIAS);
        let mut tunnel = Background::spawn(run);
        let remote = args.iter().filter(|arg| **arg == "-R").count();
        let ready = match remote {
            0 => tunnel.says(&["Entering interactive session"]),
            all => tunnel.says_so_often(all, &["remote forward success for"]),
        };
        match ready {
            Some(_) => Ok(tunnel),
            None => Err(tunnel.ended()),
        }
    }

    /// The outcome of `ssh -W host:port` towards an echo.
    pub fn reach(&self, host: &str, port: u16) -> Reached {
        let target = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let ended = self
            .program("ssh")
            .args(["-W", &target, ALIAS])
            .stdin("an echo\n")
            .ended();
        let said = ended.err();
        if ended.out() == "an echo\n" {
            Reached::Served
        } else if said.contains("administratively prohibited") {
            Reached::Prohibited
        } else if said.contains("connect failed") {
            Reached::ConnectFailed
        } else {
            Reached::Otherwise(said)
        }
    }

    /// `ssh … node`, without a command.
    pub fn plain(&self) -> Run {
        self.program("ssh").arg(ALIAS)
    }

    /// `ssh node <command>`, not yet run.
    pub fn command(&self, command: &str) -> Run {
        self.plain().arg(command)
    }

    /// Runs a command on the node.
    pub fn run(&self, command: &str) -> Ended {
        self.command(command).ended()
    }

    /// `ssh`, `scp` or `sftp` with our configuration file.
    pub fn program(&self, program: &str) -> Run {
        Run::new(program)
            .arg("-F")
            .arg(&self.config)
            .env("SSH_AUTH_SOCK", "")
    }

    /// The command that git and rsync are to use for ssh.
    pub fn as_command(&self) -> String {
        format!("ssh -F {}", self.config.display())
    }
}

const ISOLATED: &str = "
Host *
    BatchMode yes
    IdentityAgent none
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    ControlMaster no
    ControlPath none
";
