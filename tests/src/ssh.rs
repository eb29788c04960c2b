use std::fs;
use std::path::PathBuf;

use alknet_quic::openssh::Stanza;

use crate::{Ended, Run, TestKey, TestNode, artifacts};

/// Stock OpenSSH towards a node, apart from the caller's own configuration,
/// keys and agent.
pub struct Ssh {
    config: PathBuf,
}

/// The name of the node in the configuration.
const ALIAS: &str = "node";

impl Ssh {
    /// With the authorised key, by the stanza that our programs print.
    pub fn to(node: &TestNode) -> Self {
        Self::with_key(node, &node.setup.key)
    }

    /// With another key.
    pub fn with_key(node: &TestNode, key: &TestKey) -> Self {
        let stanza = Stanza {
            alias: ALIAS,
            target: &node.addr.to_string(),
            node_key: node.node_key,
            host_key: &node.host_key,
            program: &artifacts().client,
            identity_file: Some(&key.file),
            user: None,
        };
        let name = key.file.file_name().unwrap().to_str().unwrap();
        let config = node.setup.folder().join(format!("ssh_config_{name}"));
        let text = format!("{}{ISOLATED}", stanza.render().unwrap());
        fs::write(&config, text).unwrap();
        Self { config }
    }

    /// With the authorised key over plain TCP, without our client.
    pub fn over_tcp(node: &TestNode) -> Self {
        let addr = node.tcp.expect("the node listens on TCP");
        let folder = node.setup.folder();
        let known_hosts = folder.join("known_hosts_tcp");
        let (host, port) = (addr.ip(), addr.port());
        fs::write(&known_hosts, format!("[{host}]:{port} {}\n", node.host_key)).unwrap();
        let config = folder.join("ssh_config_tcp");
        let text = format!(
            "Host {ALIAS}\n    HostName {host}\n    Port {port}\n    IdentityFile {}\n    \
             IdentitiesOnly yes\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n{ISOLATED}",
            node.setup.key.file.display(),
            known_hosts.display()
        );
        fs::write(&config, text).unwrap();
        Self { config }
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
