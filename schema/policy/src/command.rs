use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::policy::{Basis, Policy};
use crate::{Action, Denied, Scope, Service, Subject};

/// How a granted command is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// By the shell, as one string.
    Shell(OsString),
    /// Directly: the program and its arguments.
    Direct {
        /// The program, as the scope or rule names it.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
}

impl Policy {
    /// Decides on a command (RFC 4254 section 6.5).
    ///
    /// What is about exec as a whole has the command run by the shell. What is
    /// about one program matches a command whose first word is exactly that;
    /// it is split into words and run without a shell, so that nothing can be
    /// appended to it.
    ///
    /// A certificate's forced command takes the place of the one asked for.
    /// The decision is about the forced command, so the identity must be able
    /// to run it, be it by exec as a whole or by the program that is its first
    /// word; as its author is the certificate authority and not the peer, it is
    /// then run by the shell either way. A request for a shell is answered the
    /// same way: ask with an empty command.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn exec(&self, subject: &Subject<'_>, command: &[u8]) -> Result<(Command, Basis), Denied> {
        self.gate(subject, Service::Exec)?;
        if command.contains(&0) {
            return Err(Denied::NulByte);
        }
        match &subject.restrictions.force_command {
            None => self.command(subject, command),
            Some(forced) if forced.contains(&0) => Err(Denied::NulByte),
            Some(forced) => {
                let (_, basis) = self.command(subject, forced)?;
                Ok((by_shell(forced), basis))
            }
        }
    }

    fn command(&self, subject: &Subject<'_>, command: &[u8]) -> Result<(Command, Basis), Denied> {
        let words = shlex::bytes::split(command);
        let first = words.as_deref().and_then(<[_]>::first);
        let is_first = |program: &str| first.is_some_and(|word| word == program.as_bytes());
        let mut some_program = false;

        for (index, rule) in self.rules_about(subject) {
            let basis = Basis::Rule { index };
            match (rule.target.scope(), rule.action) {
                (Scope::Exec(None), Action::Allow) => return Ok((by_shell(command), basis)),
                (Scope::Exec(Some(program)), Action::Allow) => {
                    if is_first(program) {
                        return Ok((direct(words.unwrap_or_default()), basis));
                    }
                    some_program = true;
                }
                (Scope::Exec(None), Action::Deny) => return Err(Denied::Rule { index }),
                (Scope::Exec(Some(program)), Action::Deny) if is_first(program) => {
                    return Err(Denied::Rule { index });
                }
                _ => {}
            }
        }

        let mut granted = None;
        for text in subject.scopes {
            match Scope::parse(text) {
                Ok(Scope::Exec(None)) => {
                    return Ok((by_shell(command), Basis::Scope(text.clone())));
                }
                Ok(Scope::Exec(Some(program))) => {
                    some_program = true;
                    if granted.is_none() && is_first(&program) {
                        granted = Some(text);
                    }
                }
                _ => {}
            }
        }
        match (granted, words) {
            (Some(scope), Some(words)) => Ok((direct(words), Basis::Scope(scope.clone()))),
            _ if !some_program => Err(Denied::NoScope {
                service: Service::Exec,
            }),
            (_, None) => Err(Denied::Unparsable),
            (None, Some(_)) => Err(Denied::OtherProgram),
        }
    }
}

fn by_shell(command: &[u8]) -> Command {
    Command::Shell(OsString::from_vec(command.to_vec()))
}

/// The words hold a first one, which has been compared.
fn direct(words: Vec<Vec<u8>>) -> Command {
    let mut words = words.into_iter().map(OsString::from_vec);
    Command::Direct {
        program: words.next().unwrap_or_default(),
        arguments: words.collect(),
    }
}
