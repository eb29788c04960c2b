//! The variables that a command gets beside those of its account.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use alknet_ssh_config::Services;

/// The two ends of the connection that a command comes over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

/// The variables of one command beside those that all commands get.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// The variables that the peer set.
    pub(crate) requested: Vec<(String, String)>,
    /// The socket of the peer's agent (`SSH_AUTH_SOCK`).
    pub(crate) agent: Option<PathBuf>,
    /// The command that the peer asked for, where a forced command runs in its
    /// place (`SSH_ORIGINAL_COMMAND`).
    pub(crate) original: Option<Vec<u8>>,
}

impl Environment {
    /// All variables beside those of the account; later ones win.
    pub(super) fn variables(
        self,
        services: &Services,
        origin: &Origin,
        shell: Option<&Path>,
        terminal: Option<(&str, &OsStr)>,
    ) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
        if let Some(shell) = shell {
            set("SHELL", shell.into());
        }
        if let Some(peer) = origin.peer {
            let (ip, port) = (peer.ip().to_canonical(), peer.port());
            // As OpenSSH writes an end that is not known.
            let (here, own_port) = match origin.local {
                Some(local) => (local.ip().to_canonical().to_string(), local.port()),
                None => ("UNKNOWN".to_owned(), 65535),
            };
            set("SSH_CLIENT", format!("{ip} {port} {own_port}").into());
            set(
                "SSH_CONNECTION",
                format!("{ip} {port} {here} {own_port}").into(),
            );
        }
        for (name, value) in self.requested {
            set(&name, value.into());
        }
        if let Some(socket) = self.agent {
            set("SSH_AUTH_SOCK", socket.into());
        }
        if let Some(original) = self.original {
            set("SSH_ORIGINAL_COMMAND", OsString::from_vec(original));
        }
        if let Some((kind, path)) = terminal {
            set("TERM", kind.into());
            set("SSH_TTY", path.into());
        }
        for (name, value) in &services.exec.environment {
            set(name, value.into());
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_connection_are_told_where_they_are_known() {
        let value = |local: Option<&str>, name: &str| {
            let origin = Origin {
                peer: Some("192.0.2.7:1234".parse().unwrap()),
                local: local.map(|local| local.parse().unwrap()),
            };
            let variables =
                Environment::default().variables(&Services::default(), &origin, None, None);
            let found = variables.into_iter().find(|(found, _)| found == name);
            found.unwrap().1.into_string().unwrap()
        };
        let local = Some("[::ffff:192.0.2.1]:22");
        assert_eq!(value(local, "SSH_CLIENT"), "192.0.2.7 1234 22");
        assert_eq!(
            value(local, "SSH_CONNECTION"),
            "192.0.2.7 1234 192.0.2.1 22"
        );
        assert_eq!(
            value(None, "SSH_CONNECTION"),
            "192.0.2.7 1234 UNKNOWN 65535"
        );
    }
}
