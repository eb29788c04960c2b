//! A stock OpenSSH server, for comparison with the node.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::target::free_port;
use crate::{Background, Run, TestKey};

/// A stock sshd on a port of its own.
pub struct Sshd {
    /// The address it listens on.
    pub addr: SocketAddr,
    /// Its host key: type, base64 and comment.
    pub host_key: String,
    running: Background,
}

impl Sshd {
    /// Starts one with these authorised keys and more lines of configuration.
    pub fn start(folder: &Path, authorized_keys: &str, config: &str) -> Self {
        let here = Ipv4Addr::LOCALHOST.into();
        Self::start_under(&[], here, folder, authorized_keys, config)
    }

    /// Starts one by another program that becomes it, at another address.
    pub fn start_under(
        wrapper: &[&str],
        ip: IpAddr,
        folder: &Path,
        authorized_keys: &str,
        config: &str,
    ) -> Self {
        // It wants to be called by its full name, and to find this directory.
        let paths = std::env::var_os("PATH").unwrap();
        let program = std::env::split_paths(&paths)
            .map(|dir| dir.join("sshd"))
            .find(|path| path.is_file())
            .unwrap();
        let _ = fs::create_dir_all("/run/sshd");
        let key = TestKey::make(folder, "sshd_host_key");
        let keys = folder.join("authorized_keys");
        fs::write(&keys, authorized_keys).unwrap();
        let addr = SocketAddr::from((ip, free_port()));
        let file = folder.join("sshd_config");
        let text = format!(
            "ListenAddress {addr}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n{config}\n",
            key.file.display(),
            keys.display()
        );
        fs::write(&file, text).unwrap();
        let run = Run::new(program).args(["-D", "-e", "-f"]).arg(&file);
        let mut running = Background::spawn(run.under(wrapper));
        let up = running.says(&["Server listening on"]);
        assert!(up.is_some(), "sshd does not start: {}", running.err());
        Self {
            addr,
            host_key: key.public_line(),
            running,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.running.err()
    }
}
