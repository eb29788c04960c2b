//! Settings for commands, shells, file transfer and subsystems (RFC 4254
//! section 6).

use std::collections::BTreeMap;

use alknet_ssh_policy::{Rule, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::range::within;
use crate::{AgentForwarding, PolicyRule, Sftp, Shell, SshConfigError, rules};

/// What an authenticated peer can be offered. Every service is on unless it is
/// turned off here, and still needs a rule or a scope of the peer's identity
/// that allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// Running commands (`ssh node command`).
    pub exec: Exec,
    /// Interactive shells and terminals (`ssh node`, `ssh -t node command`).
    pub shell: Shell,
    /// File transfer (`sftp`, `scp`).
    pub sftp: Sftp,
    /// Forwarding of the peer's SSH agent (`ssh -A`).
    pub agent_forwarding: AgentForwarding,
    /// Other subsystems (`ssh -s node name`) by name, each with the command
    /// that serves it. Who asks for one needs what running that command needs.
    /// Names are up to 64 printable ASCII characters without a comma; `sftp`
    /// is not among them. Default none.
    #[schemars(schema_with = "crate::schema::subsystems_schema")]
    pub subsystems: BTreeMap<String, String>,
    /// Rules about `exec`, `exec:<program>`, `shell`, `sftp`, `agent` and
    /// `env:<NAME>`, tried in this order before the scopes. Default none.
    #[schemars(extend("examples" = [[{ "target": "exec:uptime", "action": "allow" }]]))]
    pub rules: Vec<PolicyRule>,
}

/// Running commands. Needs the scope `ssh:exec` (any command, run by the
/// shell) or `ssh:exec:<program>` (that program alone, run without a shell).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exec {
    /// Whether commands can be run at all. Default true.
    pub enabled: bool,
    /// The shell that runs a command, as `<shell> -c <command>`. An absolute
    /// path. Default: the login shell that the account has in passwd(5), else
    /// `/bin/sh`.
    #[schemars(regex(pattern = r"^/[^\u0000]*$"), extend("examples" = ["/bin/sh"]))]
    pub shell: Option<String>,
    /// Variables set for every command, over `HOME`, `USER`, `LOGNAME`,
    /// `SHELL` and `PATH`, which are set anyway; nothing else of the node's
    /// own environment is passed on. Default none.
    #[schemars(schema_with = "crate::schema::environment_schema")]
    pub environment: BTreeMap<String, String>,
    /// Names of variables a peer may set; a trailing `*` matches any rest.
    /// The scope `ssh:env:<NAME>` grants more to one identity. Default
    /// `LANG`, `LC_*` and `GIT_PROTOCOL`.
    #[schemars(inner(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*\*?$")), transform = example_of_a_variable)]
    pub accept_env: Vec<String>,
    /// Whether all processes that a command has left end with its channel.
    /// Default false: what runs in the background goes on, as under sshd. What
    /// a peer may no longer have ends either way.
    pub end_with_channel: bool,
    /// Seconds between asking processes to end (SIGHUP and SIGTERM) and
    /// killing them (SIGKILL), where they are to end: they are no longer
    /// permitted, the operator closed their session, or `end_with_channel`. 0
    /// to 300. Default 5.
    #[schemars(range(min = 0, max = 300))]
    pub kill_grace_seconds: u32,
    /// Once the command itself has ended, seconds without output after which
    /// its channel is closed although a background process still holds the
    /// output open. 0 to 86400. Default: it stays open for as long as the
    /// client waits; with `end_with_channel`, 5.
    #[schemars(range(min = 0, max = 86_400))]
    pub background_output_seconds: Option<u32>,
}

impl Default for Exec {
    fn default() -> Self {
        Self {
            enabled: true,
            shell: None,
            environment: BTreeMap::new(),
            accept_env: ["LANG", "LC_*", "GIT_PROTOCOL"].map(str::to_owned).to_vec(),
            end_with_channel: false,
            kill_grace_seconds: 5,
            background_output_seconds: None,
        }
    }
}

impl Services {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        let exec = &self.exec;
        if let Some(shell) = &exec.shell
            && (!shell.starts_with('/') || shell.contains('\0'))
        {
            return Err(SshConfigError::at(
                "/services/exec/shell",
                format!("{shell:?} is not an absolute path; write for example \"/bin/sh\""),
            ));
        }
        for (name, value) in &exec.environment {
            let pointer = || member("/services/exec/environment", name);
            if !is_variable_name(name) {
                return Err(SshConfigError::at(
                    &pointer(),
                    format!("{name:?} is not a variable name (letters, digits, _)"),
                ));
            }
            if value.contains('\0') {
                return Err(SshConfigError::at(
                    &pointer(),
                    "the value holds a NUL character, which no variable can".to_owned(),
                ));
            }
        }
        for (index, pattern) in exec.accept_env.iter().enumerate() {
            if !is_variable_name(pattern.strip_suffix('*').unwrap_or(pattern)) {
                return Err(SshConfigError::at(
                    &format!("/services/exec/accept_env/{index}"),
                    format!("{pattern:?} is not a variable name, with or without a final *"),
                ));
            }
        }
        within(
            "/services/exec/kill_grace_seconds",
            exec.kill_grace_seconds,
            0..=300,
        )?;
        if let Some(seconds) = exec.background_output_seconds {
            let pointer = "/services/exec/background_output_seconds";
            within(pointer, seconds, 0..=86_400)?;
        }
        self.shell.validate()?;
        self.sftp.validate()?;
        for (name, command) in &self.subsystems {
            validate_subsystem(name, command)?;
        }
        self.rules().map(drop)
    }

    pub(crate) fn rules(&self) -> Result<Vec<Rule>, SshConfigError> {
        rules::compile(
            "/services/rules",
            &self.rules,
            &[
                Service::Exec,
                Service::Shell,
                Service::Sftp,
                Service::Agent,
                Service::Env,
            ],
            "/forwarding/rules",
        )
    }
}

fn validate_subsystem(name: &str, command: &str) -> Result<(), SshConfigError> {
    let wrong = |message: String| {
        let pointer = member("/services/subsystems", name);
        Err(SshConfigError::at(&pointer, message))
    };
    // RFC 4250 section 4.6.1.
    let is_name = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',');
    if !is_name {
        return wrong(format!(
            "{name:?} is not the name of a subsystem (1 to 64 printable ASCII characters \
             without a comma)"
        ));
    }
    if name == "sftp" {
        return wrong("the node serves this one itself: see /services/sftp".to_owned());
    }
    if command.trim().is_empty() || command.contains('\0') {
        return wrong(format!("{command:?} is not a command that could be run"));
    }
    Ok(())
}

/// The JSON pointer to a member of the object at `pointer` (RFC 6901).
fn member(pointer: &str, name: &str) -> String {
    let token = name.replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{token}")
}

/// Adds an example to the schema, which messages show in place of the pattern.
fn example_of_a_variable(schema: &mut schemars::Schema) {
    if let Some(items) = schema
        .get_mut("items")
        .and_then(|items| items.as_object_mut())
    {
        items.insert("examples".to_owned(), ["LC_*"].as_slice().into());
    }
}

/// Whether a text is the name of an environment variable (POSIX.1-2017,
/// section 8.1): letters, digits and underscore, not starting with a digit.
fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}
