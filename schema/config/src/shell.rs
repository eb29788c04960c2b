//! Settings for login shells, terminals and the forwarding of SSH agents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;

/// Interactive shells and terminals. A shell needs the scope `ssh:shell`. Its
/// processes get what commands get: `services.exec.environment`, variables of
/// `services.exec.accept_env`, and `services.exec.kill_grace_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shell {
    /// Whether there are shells and terminals at all. Default true.
    pub enabled: bool,
    /// The shell, started as a login shell. An absolute path. Default: what
    /// the account that the node runs as has in passwd(5), else `/bin/sh`.
    #[schemars(regex(pattern = r"^/[^\u0000]*$"), extend("examples" = ["/bin/bash"]))]
    pub program: Option<String>,
    /// Whether a shell or a command (`ssh -t node command`) can have a
    /// terminal. A program that is granted by name (`ssh:exec:<program>`) has
    /// one only for peers with `ssh:shell`. Default true.
    pub terminal: bool,
}

/// Forwarding of the peer's SSH agent (`ssh -A`). Needs the scope `ssh:agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentForwarding {
    /// Whether agents can be forwarded at all. Default true.
    pub enabled: bool,
}

impl Default for AgentForwarding {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Shell {
    fn default() -> Self {
        Self {
            enabled: true,
            program: None,
            terminal: true,
        }
    }
}

impl Shell {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        match &self.program {
            Some(program) if !program.starts_with('/') || program.contains('\0') => {
                Err(SshConfigError::at(
                    "/services/shell/program",
                    format!("{program:?} is not an absolute path; write for example \"/bin/bash\""),
                ))
            }
            _ => Ok(()),
        }
    }
}
