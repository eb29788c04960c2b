//! A state directory in a temporary home, before its node starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Peers, Run, TestKey, TestNode, artifacts};

/// A state directory before its node starts, in a temporary directory that is also
/// the node's home.
pub struct Setup {
    folder: TempDir,
    /// The key that is let in.
    pub key: TestKey,
    env: Vec<(String, String)>,
}

impl Setup {
    /// A state directory as `init` makes it, with the SSH plugin and one
    /// authorised key, `owner`.
    pub fn new() -> Self {
        let setup = Self::empty();
        let public = setup.key.public_file();
        setup
            .node(&["init", "--listen", "127.0.0.1:0", "--authorize"])
            .arg(public)
            .arg("--state")
            .arg(setup.state())
            .output();
        for entry in fs::read_dir(setup.plugins()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        setup.install(&artifacts().plugin, "libalknet_ssh_plugin.so");
        // The login shell of whoever runs the tests may read files that take
        // their time and have something to say.
        setup.ssh_config("services.exec.shell = \"/bin/sh\"");
        setup
    }

    /// No state directory yet.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self {
            key: TestKey::make(folder.path(), "owner"),
            folder,
            env: Vec::new(),
        }
    }

    /// The directory that holds everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// The plugins directory.
    pub fn plugins(&self) -> PathBuf {
        self.state().join("plugins")
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.state().join("node.toml")
    }

    /// Changes one text of the configuration into another; it must be there.
    pub fn replace(&self, from: &str, to: &str) -> &Self {
        let text = fs::read_to_string(self.config_file()).unwrap();
        assert!(text.contains(from), "no {from:?} in:\n{text}");
        fs::write(self.config_file(), text.replace(from, to)).unwrap();
        self
    }

    /// Adds lines to the SSH plugin's part of the configuration.
    pub fn ssh_config(&self, lines: &str) -> &Self {
        self.append("node.toml", &format!("{lines}\n"))
    }

    /// Serves an empty directory `root` by sftp, with more of `services.sftp`;
    /// gives its path.
    pub fn serve_root(&self, more: &str) -> PathBuf {
        let root = self.folder().join("root");
        fs::create_dir(&root).unwrap();
        self.ssh_config(&format!(
            "services.sftp = {{ enabled = true, root = {root:?}{more} }}"
        ));
        root
    }

    /// Has the node listen on TCP as well.
    pub fn listen_on_tcp(&self) -> &Self {
        self.replace(
            "# tcp_listen = \"127.0.0.1:2222\"",
            "tcp_listen = \"127.0.0.1:0\"",
        )
    }

    /// Lets in the owner alone, who may run commands and has these scopes too.
    pub fn grant(&self, scopes: &[&str]) -> &Self {
        let scopes = [&["ssh:exec"], scopes].concat();
        Peers::new().add("owner", &self.key, &scopes).write(self);
        self
    }

    /// Adds to a file of the state directory.
    pub fn append(&self, name: &str, text: &str) -> &Self {
        let path = self.state().join(name);
        let mut whole = fs::read_to_string(&path).unwrap();
        whole.push_str(text);
        fs::write(path, whole).unwrap();
        self
    }

    /// A variable in the node's environment.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Copies a library into the plugins directory.
    pub fn install(&self, library: &Path, name: &str) -> PathBuf {
        self.install_bytes(&fs::read(library).unwrap(), name)
    }

    /// Writes a file into the plugins directory.
    pub fn install_bytes(&self, bytes: &[u8], name: &str) -> PathBuf {
        let path = self.plugins().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// The daemon with some arguments, in this environment.
    pub fn node(&self, args: &[&str]) -> Run {
        let mut command = Command::new(&artifacts().node);
        command
            .args(args)
            .env("HOME", self.folder())
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("NOTIFY_SOCKET")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        Run::from(command)
    }

    /// The daemon with a command on this state directory.
    pub fn on_state(&self, command: &str) -> Run {
        self.on_state_args(&[command])
    }

    /// The daemon with a command of several words on this state directory.
    pub fn on_state_args(&self, command: &[&str]) -> Run {
        self.node(command).arg("--state").arg(self.state())
    }

    /// Starts the node and waits until it is ready.
    pub fn start(self) -> TestNode {
        TestNode::start(self)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}
