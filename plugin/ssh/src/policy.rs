//! Who may do what: decisions only, no I/O.
//!
//! A request passes when its service is switched on and a scope of the
//! peer's identity grants it. Scopes this module knows:
//!
//! - `ssh:exec`: any command, run by the shell.
//! - `ssh:exec:<program>`: a command whose first word is exactly `<program>`,
//!   split into words and run without a shell, so that nothing can be appended
//!   to it.
//! - `ssh:env:<NAME>`: the peer may set that variable for its commands.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use alknet_handler::Identity;
use alknet_ssh_config::Exec;

/// How a granted command is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// By the shell, as one string.
    Shell(OsString),
    /// Directly: the program and its arguments.
    Direct {
        /// The program, as the scope names it.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
}

/// Why a command is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The configuration switches the service off.
    #[error("running commands is switched off")]
    ServiceOff,
    /// No scope of the identity is about running commands.
    #[error("the identity has no scope ssh:exec")]
    NoScope,
    /// The identity may run certain programs, but not this one.
    #[error("the identity's ssh:exec:<program> scopes do not name this program")]
    OtherProgram,
    /// A program-scoped command cannot be split into words.
    #[error("the command cannot be split into words (unbalanced quotes)")]
    Unparsable,
    /// A command holds a NUL byte, which no argument can.
    #[error("the command holds a NUL byte")]
    NulByte,
}

/// Decides on a command (RFC 4254 section 6.5).
///
/// # Errors
/// The reason for refusing it.
pub fn exec(identity: &Identity, config: &Exec, command: &[u8]) -> Result<Command, Denied> {
    if !config.enabled {
        return Err(Denied::ServiceOff);
    }
    if command.contains(&0) {
        return Err(Denied::NulByte);
    }
    if identity.scopes.iter().any(|scope| scope == "ssh:exec") {
        return Ok(Command::Shell(OsString::from_vec(command.to_vec())));
    }
    let mut programs = identity
        .scopes
        .iter()
        .filter_map(|scope| scope.strip_prefix("ssh:exec:"))
        .filter(|program| !program.is_empty())
        .peekable();
    if programs.peek().is_none() {
        return Err(Denied::NoScope);
    }
    let mut words = shlex::bytes::split(command)
        .ok_or(Denied::Unparsable)?
        .into_iter();
    let program = words.next().ok_or(Denied::OtherProgram)?;
    if !programs.any(|granted| granted.as_bytes() == program) {
        return Err(Denied::OtherProgram);
    }
    Ok(Command::Direct {
        program: OsString::from_vec(program),
        arguments: words.map(OsString::from_vec).collect(),
    })
}

/// Whether a peer may set this environment variable for its commands.
pub fn env(identity: &Identity, config: &Exec, name: &str) -> bool {
    if name.is_empty() || name.contains(['=', '\0']) {
        return false;
    }
    let listed = config
        .accept_env
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        });
    listed
        || identity
            .scopes
            .iter()
            .any(|scope| scope.strip_prefix("ssh:env:") == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(scopes: &[&str]) -> Identity {
        Identity {
            id: "alice".to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            ..Identity::default()
        }
    }

    fn decide(scopes: &[&str], command: &str) -> Result<Command, Denied> {
        exec(&identity(scopes), &Exec::default(), command.as_bytes())
    }

    fn direct(words: &[&str]) -> Command {
        Command::Direct {
            program: words[0].into(),
            arguments: words[1..].iter().map(Into::into).collect(),
        }
    }

    #[test]
    fn nothing_is_granted_by_default() {
        assert_eq!(decide(&[], "id"), Err(Denied::NoScope));
        assert_eq!(
            decide(&["ssh", "ssh:shell", "ssh:execute", "ssh:exec:"], "id"),
            Err(Denied::NoScope)
        );
    }

    #[test]
    fn the_plain_scope_grants_any_command_by_the_shell() {
        let command = "echo a; echo 'b";
        assert_eq!(
            decide(&["ssh:exec"], command),
            Ok(Command::Shell(command.into()))
        );
    }

    #[test]
    fn a_program_scope_grants_that_program_with_any_arguments() {
        let scopes = ["ssh:exec:git-upload-pack"];
        assert_eq!(
            decide(&scopes, "git-upload-pack '/srv/a repo'"),
            Ok(direct(&["git-upload-pack", "/srv/a repo"]))
        );
        assert_eq!(
            decide(&scopes, "git-receive-pack x"),
            Err(Denied::OtherProgram)
        );
        assert_eq!(
            decide(&scopes, "/usr/bin/git-upload-pack x"),
            Err(Denied::OtherProgram)
        );
        assert_eq!(decide(&scopes, ""), Err(Denied::OtherProgram));
    }

    #[test]
    fn nothing_can_be_appended_to_a_program_scope() {
        let scopes = ["ssh:exec:ls"];
        assert_eq!(
            decide(&scopes, "ls; rm -rf /"),
            Err(Denied::OtherProgram),
            "the first word is `ls;`"
        );
        assert_eq!(
            decide(&scopes, "ls /tmp ; rm -rf / && $(id) `id` > /etc/passwd"),
            Ok(direct(&[
                "ls",
                "/tmp",
                ";",
                "rm",
                "-rf",
                "/",
                "&&",
                "$(id)",
                "`id`",
                ">",
                "/etc/passwd"
            ])),
            "all words are arguments"
        );
        assert_eq!(decide(&scopes, "ls 'x"), Err(Denied::Unparsable));
        assert_eq!(decide(&scopes, "A=b ls"), Err(Denied::OtherProgram));
    }

    #[test]
    fn a_service_that_is_off_refuses_every_scope() {
        let off = Exec {
            enabled: false,
            ..Exec::default()
        };
        assert_eq!(
            exec(&identity(&["ssh:exec"]), &off, b"id"),
            Err(Denied::ServiceOff)
        );
    }

    #[test]
    fn a_nul_byte_is_refused() {
        assert_eq!(decide(&["ssh:exec"], "a\0b"), Err(Denied::NulByte));
    }

    #[test]
    fn variables_pass_by_list_or_by_scope() {
        let nobody = identity(&[]);
        let exec = Exec::default();
        assert!(env(&nobody, &exec, "LANG"));
        assert!(env(&nobody, &exec, "LC_ALL"));
        assert!(!env(&nobody, &exec, "LANGUAGE"));
        assert!(!env(&nobody, &exec, "LD_PRELOAD"));
        assert!(!env(&nobody, &exec, ""));
        assert!(!env(&nobody, &exec, "LC_A=B"));
        assert!(env(&identity(&["ssh:env:EDITOR"]), &exec, "EDITOR"));
    }
}
