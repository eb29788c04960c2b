//! What a peer is told when something is refused: why, and what would have
//! allowed it.

use std::fmt::Write as _;

use alknet_ssh_policy::{Denied, Service};

use crate::server::state::access::AccessError;

/// A request that can be refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// A command, or a subsystem that one serves.
    Command(&'a [u8]),
    Shell,
    Terminal,
    FileTransfer,
    Forward {
        host: &'a str,
        port: u32,
    },
    Listen {
        address: &'a str,
        port: u32,
    },
    StreamLocal {
        path: &'a str,
    },
    Agent,
}

/// One line: what is refused, why, and what the node's operator does to allow
/// it. `id` is the peer's identity.
pub(crate) fn sentence(asked: Asked<'_>, refused: &AccessError, id: &str) -> String {
    let mut line = format!("{} is refused: {refused}", asked.name());
    let remedy = match refused {
        AccessError::NotAuthenticated | AccessError::Private => None,
        AccessError::Privileged => Some("the node's operator sets that to true to allow it".to_owned()),
        AccessError::CopiesKey => Some(
            "the node's operator lets a key in with `alknet-node peers add ID KEY.pub --scope ssh:exec`"
                .to_owned(),
        ),
        AccessError::Confined => Some(format!(
            "the node's operator grants the peer {id:?} the scope ssh:unconfined to allow it"
        )),
        AccessError::NoSftpRoot => Some(format!("the node's operator sets one for the peer {id:?}")),
        AccessError::Denied(denied) => remedy(asked, *denied, id),
    };
    if let Some(remedy) = remedy {
        // Writing to a string cannot fail.
        let _ = write!(line, "; {remedy}");
    }
    line
}

/// The sentence as a line on the user's standard error.
pub(crate) fn line(asked: Asked<'_>, refused: &AccessError, id: &str) -> String {
    format!("alknet: {}\r\n", sentence(asked, refused, id))
}

fn remedy(asked: Asked<'_>, denied: Denied, id: &str) -> Option<String> {
    Some(match denied {
        Denied::NoScope { .. } | Denied::OtherProgram => {
            let scopes = asked.scopes();
            format!("the node's operator grants the peer {id:?} the scope {scopes} to allow it")
        }
        Denied::NotCertified { .. } => {
            let scopes = asked.scopes();
            format!(
                "log in with a certificate that carries the scope {scopes}, or with one that is not limited"
            )
        }
        Denied::TerminalOfProgram => format!(
            "do without one (ssh -T), or have the node's operator grant the peer {id:?} the scope \
             ssh:shell"
        ),
        Denied::ServiceOff { service } => format!(
            "the node's operator turns it on with {} = true",
            setting(service)?
        ),
        Denied::Rule { .. } => "the node's operator changes that rule to allow it".to_owned(),
        Denied::Restricted { what: "permit-pty" } => {
            "do without a terminal (ssh -T), or log in with a key or certificate that permits it"
                .to_owned()
        }
        Denied::Restricted { .. } => "log in with a key or certificate that permits it".to_owned(),
        Denied::StartsPrograms => {
            format!("the node's operator grants the peer {id:?} the scope ssh:exec to allow it")
        }
        Denied::Unparsable => "write the command with its quotes in pairs".to_owned(),
        _ => return None,
    })
}

fn setting(service: Service) -> Option<&'static str> {
    Some(match service {
        Service::Exec => "services.exec.enabled",
        Service::Shell => "services.shell.enabled",
        Service::Sftp => "services.sftp.enabled",
        Service::Agent => "services.agent_forwarding.enabled",
        Service::Forward => "forwarding.forward",
        Service::Listen => "forwarding.listen",
        Service::StreamLocal => "forwarding.streamlocal",
        Service::Env | Service::Unconfined => return None,
    })
}

impl<'a> Asked<'a> {
    /// A command; `internal-sftp` is file transfer.
    pub(crate) fn of(command: &'a [u8]) -> Self {
        match command {
            b"internal-sftp" => Self::FileTransfer,
            command => Self::Command(command),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Command(_) => "the command",
            Self::Shell => "a shell",
            Self::Terminal => "a terminal",
            Self::FileTransfer => "file transfer",
            Self::Forward { .. } => "the forward",
            Self::Listen { .. } => "the listener",
            Self::StreamLocal { .. } => "the Unix socket",
            Self::Agent => "agent forwarding",
        }
    }

    /// The scopes that grant it.
    fn scopes(self) -> String {
        let place = |service: &str, host: &str, port: u32| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            match plain(bare) {
                Some(host) if host.contains(':') => format!("ssh:{service}:[{host}]:{port}"),
                Some(host) => format!("ssh:{service}:{host}:{port}"),
                None => format!("ssh:{service}:<host>:{port}"),
            }
        };
        match self {
            Self::Command(command) => match program(command) {
                Some(program) => format!("ssh:exec:{program} (or ssh:exec, any command)"),
                None => "ssh:exec".to_owned(),
            },
            Self::Shell | Self::Terminal => "ssh:shell".to_owned(),
            Self::FileTransfer => "ssh:sftp".to_owned(),
            Self::Forward { host, port } => place("forward", host, port),
            Self::Listen { address, port } => place(
                "listen",
                if address.is_empty() { "*" } else { address },
                port,
            ),
            Self::StreamLocal { path } => {
                format!("ssh:streamlocal:{}", plain(path).unwrap_or("<path>"))
            }
            Self::Agent => "ssh:agent".to_owned(),
        }
    }
}

/// The first word of a command, where a scope can name it.
fn program(command: &[u8]) -> Option<&str> {
    let mut words = command.split(u8::is_ascii_whitespace);
    let first = std::str::from_utf8(words.find(|word| !word.is_empty())?).ok()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    plain(first).filter(|first| first.bytes().all(is_name))
}

/// The text, if it is harmless in a line: peers choose these texts.
fn plain(text: &str) -> Option<&str> {
    let is_plain = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    is_plain.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(asked: Asked<'_>, denied: Denied) -> String {
        sentence(asked, &AccessError::Denied(denied), "alice")
    }

    #[test]
    fn what_would_have_allowed_it_is_named() {
        let no = |service| Denied::NoScope { service };
        for (asked, denied, remedy) in [
            (
                Asked::Command(b"git-upload-pack '/x y'"),
                no(Service::Exec),
                "\"alice\" the scope ssh:exec:git-upload-pack (or ssh:exec",
            ),
            (Asked::Command(b"'"), Denied::Unparsable, "quotes in pairs"),
            (
                Asked::Command(b"a;b"),
                Denied::OtherProgram,
                "the scope ssh:exec to",
            ),
            (
                Asked::Command(b"\x1b[2J"),
                no(Service::Exec),
                "the scope ssh:exec to",
            ),
            (
                Asked::Forward {
                    host: "::1",
                    port: 22,
                },
                no(Service::Forward),
                "ssh:forward:[::1]:22",
            ),
            (
                Asked::Listen {
                    address: "",
                    port: 0,
                },
                no(Service::Listen),
                "ssh:listen:*:0",
            ),
            (
                Asked::StreamLocal { path: "/a\n" },
                no(Service::StreamLocal),
                "ssh:streamlocal:<path>",
            ),
            (
                Asked::Shell,
                Denied::ServiceOff {
                    service: Service::Shell,
                },
                "services.shell.enabled = true",
            ),
            (Asked::Terminal, Denied::TerminalOfProgram, "ssh:shell"),
            (
                Asked::FileTransfer,
                Denied::Rule { index: 3 },
                "changes that rule",
            ),
        ] {
            let told = told(asked, denied);
            assert!(told.contains(remedy), "{told}");
            assert!(!told.contains(['\n', '\x1b']), "{told:?}");
        }
    }
}
