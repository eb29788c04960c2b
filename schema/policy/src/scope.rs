//! The grammar of scopes: what an identity may do, one line each.

use std::fmt;

use crate::{BadPath, Destination, DestinationError, PathPattern};

/// What a peer can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Running a command.
    Exec,
    /// Being connected to a host and port (`direct-tcpip`).
    Forward,
    /// A listener on the node (`tcpip-forward`).
    Listen,
    /// Unix sockets on the node, to connect to or to listen on.
    StreamLocal,
    /// A shell.
    Shell,
    /// File transfer.
    Sftp,
    /// Forwarding the peer's agent to the node.
    Agent,
    /// Setting an environment variable.
    Env,
    /// Running processes outside the confinement. No peer asks for this: the
    /// scope says how the processes run that other scopes grant.
    Unconfined,
}

impl Service {
    /// The word scopes, rules and messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Forward => "forward",
            Self::Listen => "listen",
            Self::StreamLocal => "streamlocal",
            Self::Shell => "shell",
            Self::Sftp => "sftp",
            Self::Agent => "agent",
            Self::Env => "env",
            Self::Unconfined => "unconfined",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            Self::Exec,
            Self::Forward,
            Self::Listen,
            Self::StreamLocal,
            Self::Shell,
            Self::Sftp,
            Self::Agent,
            Self::Env,
            Self::Unconfined,
        ]
        .into_iter()
        .find(|service| service.name() == name)
    }

    /// The form in which scopes (`prefix` is `ssh:`) or targets (`prefix` is
    /// empty) of this service are written.
    fn form(self, prefix: &str) -> String {
        match self {
            Self::Exec => {
                format!("{prefix}exec or {prefix}exec:<program>, the program without arguments")
            }
            Self::Forward => format!("{prefix}forward:<host>:<port>"),
            Self::Listen => format!("{prefix}listen:<address>:<port>"),
            Self::StreamLocal => format!("{prefix}streamlocal:<path>"),
            Self::Shell | Self::Sftp | Self::Agent | Self::Unconfined => {
                format!("{prefix}{self}")
            }
            Self::Env => format!("{prefix}env:<NAME>, the name of letters, digits and _"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing an identity may do, as the peers configuration writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `ssh:exec`: any command, run by the shell; `ssh:exec:<program>`: a
    /// command whose first word is exactly that, run without a shell.
    Exec(Option<String>),
    /// `ssh:forward:<host>:<port>`.
    Forward(Destination),
    /// `ssh:listen:<address>:<port>`.
    Listen(Destination),
    /// `ssh:streamlocal:<path>`.
    StreamLocal(PathPattern),
    /// `ssh:shell`.
    Shell,
    /// `ssh:sftp`.
    Sftp,
    /// `ssh:agent`.
    Agent,
    /// `ssh:env:<NAME>`.
    Env(String),
    /// `ssh:unconfined`: the peer's processes run without confinement, as the
    /// node's own account. It grants nothing else by itself.
    Unconfined,
}

impl Scope {
    /// Reads a scope such as `ssh:forward:10.0.0.0/8:22`.
    ///
    /// # Errors
    /// When the text is not a known scope, or one that could never match.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let unknown = || ScopeError::Unknown {
            scope: text.to_owned(),
        };
        let rest = text.strip_prefix("ssh:").ok_or_else(unknown)?;
        let (service, argument) = split(rest).ok_or_else(unknown)?;
        Self::from_parts(service, argument).map_err(|fault| fault.of(text, "ssh:"))
    }

    /// The service that the scope is about.
    pub const fn service(&self) -> Service {
        match self {
            Self::Exec(_) => Service::Exec,
            Self::Forward(_) => Service::Forward,
            Self::Listen(_) => Service::Listen,
            Self::StreamLocal(_) => Service::StreamLocal,
            Self::Shell => Service::Shell,
            Self::Sftp => Service::Sftp,
            Self::Agent => Service::Agent,
            Self::Env(_) => Service::Env,
            Self::Unconfined => Service::Unconfined,
        }
    }

    /// Whether this scope grants all that the other one grants: for what an
    /// authority may put into a certificate. Some that do are not seen to; none
    /// that does not is.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exec(None), Self::Exec(_)) => true,
            (Self::Forward(own), Self::Forward(other))
            | (Self::Listen(own), Self::Listen(other)) => own.covers(other),
            (Self::StreamLocal(own), Self::StreamLocal(PathPattern::Exact(path))) => {
                own.holds(path.as_bytes())
            }
            (own, other) => own == other,
        }
    }

    pub(crate) fn from_parts(service: Service, argument: Option<&str>) -> Result<Self, Fault> {
        match (service, argument) {
            (Service::Exec, None) => Ok(Self::Exec(None)),
            (Service::Exec, Some(program)) if is_word(program) => {
                Ok(Self::Exec(Some(program.to_owned())))
            }
            (Service::Forward, Some(text)) => Destination::parse_forward(text)
                .map(Self::Forward)
                .map_err(Fault::Destination),
            (Service::Listen, Some(text)) => Destination::parse_listen(text)
                .map(Self::Listen)
                .map_err(Fault::Destination),
            (Service::StreamLocal, Some(path)) => PathPattern::parse(path)
                .map(Self::StreamLocal)
                .map_err(Fault::Path),
            (Service::Shell, None) => Ok(Self::Shell),
            (Service::Sftp, None) => Ok(Self::Sftp),
            (Service::Agent, None) => Ok(Self::Agent),
            (Service::Unconfined, None) => Ok(Self::Unconfined),
            (Service::Env, Some(name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            _ => Err(Fault::Form(service)),
        }
    }

    /// Writes the scope without `ssh:`, as the target of a rule.
    pub(crate) fn write_target(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service().name())?;
        match self {
            Self::Exec(Some(program)) => write!(f, ":{program}"),
            Self::Forward(destination) | Self::Listen(destination) => write!(f, ":{destination}"),
            Self::StreamLocal(path) => write!(f, ":{path}"),
            Self::Env(name) => write!(f, ":{name}"),
            Self::Exec(None) | Self::Shell | Self::Sftp | Self::Agent | Self::Unconfined => Ok(()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh:")?;
        self.write_target(f)
    }
}

/// The service a text without `ssh:` names, and what follows its colon.
pub(crate) fn split(text: &str) -> Option<(Service, Option<&str>)> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    Some((Service::from_name(name)?, argument))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// POSIX.1-2017, section 8.1.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What is wrong with a scope or target, before the text is known.
pub(crate) enum Fault {
    Form(Service),
    Destination(DestinationError),
    Path(BadPath),
}

impl Fault {
    pub(crate) fn of(self, text: &str, prefix: &'static str) -> ScopeError {
        let text = text.to_owned();
        match self {
            Self::Form(service) => ScopeError::Malformed {
                text,
                prefix,
                service,
            },
            Self::Destination(fault) => ScopeError::Destination { text, fault },
            Self::Path(fault) => ScopeError::Path { text, fault },
        }
    }
}

/// Why a text is not a scope or no target of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The text is not a known scope.
    #[error(
        "{scope:?} is not a known scope; there are ssh:exec, ssh:exec:<program>, \
         ssh:forward:<host>:<port>, ssh:listen:<address>:<port>, ssh:streamlocal:<path>, \
         ssh:shell, ssh:sftp, ssh:agent, ssh:env:<NAME>, ssh:unconfined"
    )]
    Unknown {
        /// The text.
        scope: String,
    },
    /// The text is not a known target.
    #[error(
        "{target:?} is not a known target; there are <host>:<port>, listen:<address>:<port>, \
         streamlocal:<path>, exec, exec:<program>, shell, sftp, agent, env:<NAME>"
    )]
    UnknownTarget {
        /// The text.
        target: String,
    },
    /// A scope that no rule can be about.
    #[error(
        "{target:?} is not about a request, so no rule decides on it: grant it to a peer as a scope"
    )]
    NotATarget {
        /// The text.
        target: String,
    },
    /// A target that is written like a scope.
    #[error("{target:?} is a scope; as a target it is written {right:?}")]
    ScopeAsTarget {
        /// The text.
        target: String,
        /// The text without `ssh:`.
        right: String,
    },
    /// The service exists, but what follows it is wrong.
    #[error("{text:?} is malformed; expected {}", service.form(prefix))]
    Malformed {
        /// The text.
        text: String,
        /// `ssh:` for a scope, nothing for a target.
        prefix: &'static str,
        /// The service.
        service: Service,
    },
    /// The host or port is wrong.
    #[error("{text:?}: {fault}")]
    Destination {
        /// The text.
        text: String,
        /// What is wrong.
        fault: DestinationError,
    },
    /// The path is wrong.
    #[error("{text:?}: the path cannot be that of a socket: {fault}")]
    Path {
        /// The text.
        text: String,
        /// What is wrong.
        fault: BadPath,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_known_and_written_as_read() {
        for text in [
            "ssh:exec",
            "ssh:exec:git-upload-pack",
            "ssh:exec:/usr/bin/rsync",
            "ssh:exec:a:b",
            "ssh:forward:db.internal:5432",
            "ssh:forward:*.internal:443",
            "ssh:forward:10.0.0.0/8:1-1024",
            "ssh:forward:[fd00::]/8:22",
            "ssh:listen:127.0.0.1:0",
            "ssh:listen:localhost:8080",
            "ssh:listen:[::1]:0-65535",
            "ssh:streamlocal:/run/app.sock",
            "ssh:streamlocal:/run/app/*",
            "ssh:shell",
            "ssh:sftp",
            "ssh:agent",
            "ssh:env:LC_ALL",
            "ssh:unconfined",
        ] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_slip_in_the_name_lists_the_names() {
        for text in [
            "",
            "exec",
            "ssh",
            "ssh:",
            "ssh:exce",
            "SSH:exec",
            " ssh:exec",
            "ssh:exec ",
            "ssh::exec",
        ] {
            let error = Scope::parse(text).unwrap_err();
            assert!(
                matches!(error, ScopeError::Unknown { .. }),
                "{text}: {error}"
            );
            assert!(
                error.to_string().contains("ssh:forward:<host>:<port>"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_slip_in_the_form_says_the_form() {
        for (text, form) in [
            ("ssh:exec:", "expected ssh:exec or ssh:exec:<program>"),
            ("ssh:exec:rm -rf", "expected ssh:exec or ssh:exec:<program>"),
            ("ssh:forward", "expected ssh:forward:<host>:<port>"),
            ("ssh:listen", "expected ssh:listen:<address>:<port>"),
            ("ssh:streamlocal", "expected ssh:streamlocal:<path>"),
            ("ssh:shell:bash", "expected ssh:shell"),
            ("ssh:sftp:", "expected ssh:sftp"),
            ("ssh:env", "expected ssh:env:<NAME>"),
            ("ssh:env:1A", "expected ssh:env:<NAME>"),
            ("ssh:env:LC_*", "expected ssh:env:<NAME>"),
            ("ssh:unconfined:x", "expected ssh:unconfined"),
        ] {
            let message = Scope::parse(text).unwrap_err().to_string();
            assert!(message.contains(form), "{text}: {message}");
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }

    #[test]
    fn a_wrong_host_port_or_path_says_what_is_wrong() {
        for (text, why) in [
            ("ssh:forward:db", "no port follows"),
            ("ssh:forward:[fd00::/8]:22", "write [fd00::]/8"),
            ("ssh:listen:db:22", "write an address"),
            ("ssh:streamlocal:run/x", "not absolute"),
        ] {
            let message = Scope::parse(text).unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.starts_with(&format!("{text:?}: ")), "{message}");
        }
    }
}
