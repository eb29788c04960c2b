//! Decisions on commands (RFC 4254 section 6.5): whether one may run, and
//! whether with a shell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::command::Command;
use crate::policy::{Basis, Policy};
use crate::{Action, Denied, Scope, Service, Subject};

impl Policy {
    /// Decides on a command (RFC 4254 section 6.5).
    ///
    /// What is about exec as a whole has the command run by the shell. What is
    /// about one program matches a command whose first word is exactly that;
    /// it is split into words and run without a shell, so that nothing can be
    /// appended to it.
    ///
    /// A certificate's forced command takes the place of the one asked for.
    /// The decision is about the forced command, as if the peer had asked for
    /// it: certificates narrow and never widen. A request for a shell is
    /// answered the same way: ask with an empty command.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn exec(&self, subject: &Subject<'_>, command: &[u8]) -> Result<(Command, Basis), Denied> {
        self.gate(subject, Service::Exec)?;
        if command.contains(&0) {
            return Err(Denied::NulByte);
        }
        let command = match &subject.restrictions.force_command {
            None => command,
            Some(forced) if forced.contains(&0) => return Err(Denied::NulByte),
            Some(forced) => forced,
        };
        let (granted, basis) = self.command(subject, command)?;
        let Some(scopes) = &subject.restrictions.scopes else {
            return Ok((granted, basis));
        };
        match (by_scopes(scopes, command), granted) {
            (Ok(_), granted @ Command::Direct { .. }) => Ok((granted, basis)),
            // What the certificate runs without a shell is not given to one.
            (Ok((certified, _)), Command::Shell(_)) => Ok((certified, basis)),
            (Err(unparsable @ Denied::Unparsable), _) => Err(unparsable),
            (Err(_), _) => Err(Denied::NotCertified {
                service: Service::Exec,
            }),
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

        match by_scopes(subject.scopes, command) {
            // A rule names programs that it may run.
            Err(Denied::NoScope { .. }) if some_program => Err(match words {
                Some(_) => Denied::OtherProgram,
                None => Denied::Unparsable,
            }),
            decided => decided,
        }
    }
}

/// Decides on a command by scopes alone.
fn by_scopes(scopes: &[String], command: &[u8]) -> Result<(Command, Basis), Denied> {
    let words = shlex::bytes::split(command);
    let first = words.as_deref().and_then(<[_]>::first);
    let mut some_program = false;
    let mut granted = None;
    for text in scopes {
        match Scope::parse(text) {
            Ok(Scope::Exec(None)) => {
                return Ok((by_shell(command), Basis::Scope(text.clone())));
            }
            Ok(Scope::Exec(Some(program))) => {
                some_program = true;
                let is_first = first.is_some_and(|word| word == program.as_bytes());
                if granted.is_none() && is_first {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Restrictions, Rule, RuleTarget, Switches};

    const EXEC: Switches = Switches {
        exec: true,
        forward: false,
        listen: false,
        streamlocal: false,
        shell: false,
        sftp: false,
        agent: false,
    };

    fn ask(
        rules: &[(&str, Action)],
        scopes: &[&str],
        forced: Option<&str>,
        command: &str,
    ) -> Result<(Command, Basis), Denied> {
        let rules = rules.iter().map(|(target, action)| Rule {
            target: RuleTarget::parse(target).unwrap(),
            action: *action,
            principals: Vec::new(),
        });
        let scopes: Vec<_> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let restrictions = Restrictions {
            force_command: forced.map(|command| command.as_bytes().to_vec()),
            ..Restrictions::default()
        };
        let subject = Subject {
            id: "alice",
            scopes: &scopes,
            restrictions: &restrictions,
        };
        Policy::new(EXEC, rules.collect(), Vec::new()).exec(&subject, command.as_bytes())
    }

    fn decide(scopes: &[&str], command: &str) -> Result<Command, Denied> {
        ask(&[], scopes, None, command).map(|(command, _)| command)
    }

    fn direct(words: &[&str]) -> Command {
        Command::Direct {
            program: words[0].into(),
            arguments: words[1..].iter().map(Into::into).collect(),
        }
    }

    const NO_SCOPE: Denied = Denied::NoScope {
        service: Service::Exec,
    };

    #[test]
    fn nothing_is_granted_by_default() {
        assert_eq!(decide(&[], "id"), Err(NO_SCOPE));
        let scopes = ["ssh", "ssh:shell", "ssh:execute", "ssh:exec:"];
        assert_eq!(decide(&scopes, "id"), Err(NO_SCOPE));
    }

    #[test]
    fn the_plain_scope_grants_any_command_by_the_shell() {
        let command = "echo a; echo 'b";
        assert_eq!(
            ask(&[], &["ssh:exec:echo", "ssh:exec"], None, command),
            Ok((
                Command::Shell(command.into()),
                Basis::Scope("ssh:exec".to_owned())
            ))
        );
    }

    #[test]
    fn a_program_scope_grants_that_program_with_any_arguments() {
        let scopes = ["ssh:exec:id", "ssh:exec:git-upload-pack"];
        assert_eq!(
            ask(&[], &scopes, None, "git-upload-pack '/srv/a repo'"),
            Ok((
                direct(&["git-upload-pack", "/srv/a repo"]),
                Basis::Scope(scopes[1].to_owned())
            ))
        );
        for command in [
            "git-receive-pack x",
            "/usr/bin/git-upload-pack x",
            "",
            "A=b id",
        ] {
            assert_eq!(
                decide(&scopes, command),
                Err(Denied::OtherProgram),
                "{command}"
            );
        }
    }

    #[test]
    fn nothing_can_be_appended_to_a_program_scope() {
        let scopes = ["ssh:exec:ls"];
        // The first word is `ls;`.
        assert_eq!(decide(&scopes, "ls; rm -rf /"), Err(Denied::OtherProgram));
        assert_eq!(
            decide(&scopes, "ls /tmp ; rm && $(id) `id` > /etc/passwd"),
            Ok(direct(&[
                "ls",
                "/tmp",
                ";",
                "rm",
                "&&",
                "$(id)",
                "`id`",
                ">",
                "/etc/passwd"
            ])),
        );
        assert_eq!(decide(&scopes, "ls 'x"), Err(Denied::Unparsable));
    }

    #[test]
    fn a_nul_byte_is_refused() {
        assert_eq!(decide(&["ssh:exec"], "a\0b"), Err(Denied::NulByte));
        let forced = ask(&[], &["ssh:exec"], Some("a\0b"), "a");
        assert_eq!(forced, Err(Denied::NulByte));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        use Action::{Allow, Deny};
        let rules = [("exec:uptime", Allow), ("exec", Deny)];
        assert_eq!(
            ask(&rules, &["ssh:exec"], None, "uptime -p"),
            Ok((direct(&["uptime", "-p"]), Basis::Rule { index: 0 }))
        );
        for command in ["id", "uptime; id", "uptime '"] {
            let denied = ask(&rules, &["ssh:exec"], None, command);
            assert_eq!(denied, Err(Denied::Rule { index: 1 }), "{command}");
        }
        assert_eq!(
            ask(&[("exec", Allow)], &[], None, "id | wc"),
            Ok((Command::Shell("id | wc".into()), Basis::Rule { index: 0 }))
        );
        let other = ask(&[("exec:uptime", Allow)], &[], None, "id");
        assert_eq!(other, Err(Denied::OtherProgram));
    }

    #[test]
    fn a_forced_command_takes_the_place_of_the_one_asked_for() {
        let forced = Some("ls /srv | wc -l");
        for (scope, runs) in [
            ("ssh:exec", Command::Shell("ls /srv | wc -l".into())),
            ("ssh:exec:ls", direct(&["ls", "/srv", "|", "wc", "-l"])),
        ] {
            for asked in ["", "id", "ls 'x"] {
                assert_eq!(
                    ask(&[], &[scope], forced, asked),
                    Ok((runs.clone(), Basis::Scope(scope.to_owned())))
                );
            }
        }
        assert_eq!(ask(&[], &[], forced, "ls"), Err(NO_SCOPE));
        let other = ask(&[], &["ssh:exec:id"], forced, "id");
        assert_eq!(other, Err(Denied::OtherProgram));
        let denied = ask(&[("exec", Action::Deny)], &["ssh:exec"], forced, "ls");
        assert_eq!(denied, Err(Denied::Rule { index: 0 }));
    }

    #[test]
    fn a_service_that_is_off_refuses_every_scope() {
        let scopes = ["ssh:exec".to_owned()];
        let subject = Subject {
            id: "alice",
            scopes: &scopes,
            restrictions: Restrictions::none(),
        };
        assert_eq!(
            Policy::default().exec(&subject, b"id"),
            Err(Denied::ServiceOff {
                service: Service::Exec
            })
        );
    }
}
