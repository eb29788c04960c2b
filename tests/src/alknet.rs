//! The client `alknet` as a user with a home directory and a `nodes.toml`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::{Run, TestKey, TestNode, artifacts};

/// The client `alknet` as a user who has its node in `nodes.toml`, apart from
/// the caller's own configuration, keys and agent.
pub struct Alknet {
    home: PathBuf,
    shares: bool,
}

/// The name of the node in the user's `nodes.toml`.
pub const NODE: &str = "test-node";

impl Alknet {
    /// A user who knows both keys of the node and has the key that is let in.
    pub fn to(node: &TestNode) -> Self {
        Self::at(node, node.addr)
    }

    /// As [`to`](Self::to), but finds the node at another address.
    pub fn at(node: &TestNode, addr: SocketAddr) -> Self {
        let user = Self::stranger(node);
        user.knows(node, addr, "");
        user
    }

    /// As [`at`](Self::at), with more lines about the node in `nodes.toml`.
    pub fn told(node: &TestNode, addr: SocketAddr, more: &str) -> Self {
        let user = Self::stranger(node);
        user.knows(node, addr, more);
        user
    }

    /// As [`to`](Self::to), with commands that share one connection.
    pub fn sharing(node: &TestNode) -> Self {
        let mut user = Self::stranger(node);
        user.shares(node, node.addr);
        user
    }

    /// Shares one connection to the node, which is found at `addr`.
    pub fn shares(&mut self, node: &TestNode, addr: SocketAddr) -> &Self {
        self.shares = true;
        self.knows(node, addr, "share = true\n")
    }

    fn knows(&self, node: &TestNode, addr: SocketAddr, more: &str) -> &Self {
        self.know(&format!(
            "[{NODE}]\naddress = \"{}@{addr}\"\nhost_key = \"{}\"\nidentity_files = [\"{}\"]\n{more}",
            node.node_key,
            node.host_key,
            node.setup.key.file.display()
        ))
    }

    /// A user who knows nothing and has no key.
    pub fn stranger(node: &TestNode) -> Self {
        let mut home = node.setup.folder().join("user");
        for number in 2.. {
            if !home.exists() {
                break;
            }
            home = node.setup.folder().join(format!("user{number}"));
        }
        fs::create_dir_all(home.join(".config/alknet")).unwrap();
        fs::create_dir_all(home.join(".ssh")).unwrap();
        Self {
            home,
            shares: false,
        }
    }

    /// As [`to`](Self::to), by any address that a node may have in `nodes.toml`.
    pub fn by_address(node: &TestNode, address: &str) -> Self {
        let user = Self::stranger(node);
        user.know(&format!(
            "[{NODE}]\naddress = \"{address}\"\nhost_key = \"{}\"\nidentity_files = [\"{}\"]\n",
            node.host_key,
            node.setup.key.file.display()
        ));
        user
    }

    /// Writes `nodes.toml`.
    pub fn know(&self, text: &str) -> &Self {
        fs::write(self.home.join(".config/alknet/nodes.toml"), text).unwrap();
        self
    }

    /// Puts a copy of the key where it is found without being named.
    pub fn has(&self, key: &TestKey) -> &Self {
        let to = self.ssh_folder().join("id_ed25519");
        fs::copy(&key.file, to).unwrap();
        self
    }

    /// The directory `~/.ssh`.
    pub fn ssh_folder(&self) -> PathBuf {
        self.home.join(".ssh")
    }

    /// The user's home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `alknet` with some arguments.
    pub fn run(&self, args: &[&str]) -> Run {
        self.surrounded(Run::new(&artifacts().client)).args(args)
    }

    /// `alknet exec NODE CMD`.
    pub fn exec(&self, command: &str) -> Run {
        self.run(&["exec", NODE, command])
    }

    /// Another program in the same surroundings.
    pub fn surrounded(&self, run: Run) -> Run {
        run.env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", "")
            .env("XDG_RUNTIME_DIR", "")
            .env("XDG_STATE_HOME", "")
            .env("SSH_AUTH_SOCK", "")
            .env("USER", "tester")
    }
}

impl Drop for Alknet {
    fn drop(&mut self) {
        if self.shares && !std::thread::panicking() {
            self.run(&["exec", "-O", "exit", NODE]).ended();
        }
    }
}
