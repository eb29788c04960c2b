//! Conditions on an identity's log-ins and sessions, the counterpart of an
//! authorized key's options (sshd(8)).

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;

use crate::scope::is_variable;
use crate::{BadSource, Restrictions, Sources};

/// The kinds of resources that are about SSH.
const KINDS: [&str; 5] = [FROM, EXPIRES, COMMAND, ENVIRONMENT, NO_PTY];
const FROM: &str = "ssh:from";
const EXPIRES: &str = "ssh:expires";
const COMMAND: &str = "ssh:command";
const ENVIRONMENT: &str = "ssh:environment";
const NO_PTY: &str = "ssh:no-pty";

/// What an identity's resources ask of its log-ins and sessions beyond its
/// scopes, as the options of an authorized key do (sshd(8)).
///
/// | kind | values |
/// |---|---|
/// | `ssh:from` | addresses the peer may come from, see [`Sources`] |
/// | `ssh:expires` | one time from which it is let in no more, such as `2030-12-31T00:00:00Z` |
/// | `ssh:command` | one command that is run whatever is asked |
/// | `ssh:environment` | variables set for its commands, `NAME=value` |
/// | `ssh:no-pty` | `yes`: no terminal |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The addresses the peer may come from; any address if not given.
    pub from: Option<Sources>,
    /// The time from which the peer is no longer let in.
    pub expires: Option<SystemTime>,
    /// The command that is run whatever the peer asks for.
    pub command: Option<String>,
    /// Variables set for the peer's commands, whatever it asks for.
    pub environment: Vec<(String, String)>,
    /// Whether the peer is denied a terminal.
    pub no_pty: bool,
}

impl Conditions {
    /// Reads the kinds that begin with `ssh:`; others belong to other protocols
    /// and are left alone.
    ///
    /// # Errors
    /// Every resource that is wrong: a kind that is not known, or a value that
    /// means nothing. A caller that ignores them lets in peers that the
    /// resources keep out.
    pub fn read(resources: &BTreeMap<String, Vec<String>>) -> Result<Self, Vec<ConditionError>> {
        let mut conditions = Self::default();
        let mut faults = Vec::new();
        for (kind, values) in resources {
            if !kind.starts_with("ssh:") {
                continue;
            }
            if let Err((index, fault)) = conditions.add(kind, values) {
                faults.push(ConditionError {
                    kind: kind.clone(),
                    index,
                    fault,
                });
            }
        }
        if faults.is_empty() {
            Ok(conditions)
        } else {
            Err(faults)
        }
    }

    /// What is withheld from a session, in the terms of decisions.
    pub fn restrictions(&self) -> Restrictions {
        Restrictions {
            no_pty: self.no_pty,
            force_command: self.command.clone().map(String::into_bytes),
            ..Restrictions::default()
        }
    }

    fn add(&mut self, kind: &str, values: &[String]) -> Result<(), (Option<usize>, BadCondition)> {
        let the_one = || match values {
            [value] => Ok(value.as_str()),
            _ => Err((
                None,
                BadCondition::NotOne {
                    number: values.len(),
                },
            )),
        };
        match kind {
            FROM => {
                let sources = Sources::parse(values);
                let fault = |(index, fault)| {
                    let index = (!values.is_empty()).then_some(index);
                    (index, BadCondition::Source(fault))
                };
                self.from = Some(sources.map_err(fault)?);
            }
            EXPIRES => {
                let time = the_one()?.parse::<Timestamp>();
                self.expires = Some(time.map_err(|_| (Some(0), BadCondition::Time))?.into());
            }
            COMMAND => {
                let command = the_one()?;
                if command.is_empty() || command.contains('\0') {
                    return Err((Some(0), BadCondition::Command));
                }
                self.command = Some(command.to_owned());
            }
            ENVIRONMENT => {
                for (index, value) in values.iter().enumerate() {
                    let variable = value
                        .split_once('=')
                        .filter(|(name, value)| is_variable(name) && !value.contains('\0'));
                    let (name, value) = variable.ok_or((Some(index), BadCondition::Variable))?;
                    self.environment.push((name.to_owned(), value.to_owned()));
                }
            }
            NO_PTY => match the_one()? {
                "yes" => self.no_pty = true,
                _ => return Err((Some(0), BadCondition::NotYes)),
            },
            _ => return Err((None, BadCondition::Unknown)),
        }
        Ok(())
    }
}

/// A resource of kind `ssh:…` that cannot be used, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {fault}")]
pub struct ConditionError {
    /// The resource's kind.
    pub kind: String,
    /// The index of the wrong value; `None` if the fault is about all values.
    pub index: Option<usize>,
    /// What is wrong.
    pub fault: BadCondition,
}

/// What can be wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// No kind of that name exists.
    #[error("there is no such kind; those about SSH are {}", KINDS.join(", "))]
    Unknown,
    /// The resource needs exactly one value and has another number of them.
    #[error("{number} values were found where exactly one is expected")]
    NotOne {
        /// The number of values found.
        number: usize,
    },
    /// An entry of `ssh:from` is wrong.
    #[error("{0}")]
    Source(BadSource),
    /// The value of `ssh:expires` is not a time.
    #[error("this is not a time; write it like 2030-12-31T23:59:59Z")]
    Time,
    /// The value of `ssh:command` is empty or holds a NUL character.
    #[error("a command is not empty and holds no NUL character")]
    Command,
    /// A value of `ssh:environment` is not `NAME=value`.
    #[error("this is not a variable; write NAME=value, the name of letters, digits and _")]
    Variable,
    /// The value of a restriction is not `yes`.
    #[error("the only value is \"yes\"; without the restriction, leave it out")]
    NotYes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(resources: &[(&str, &[&str])]) -> Result<Conditions, Vec<String>> {
        let resources = resources.iter().map(|(kind, values)| {
            let values = values.iter().map(|&value| value.to_owned());
            ((*kind).to_owned(), values.collect())
        });
        Conditions::read(&resources.collect())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_kind_is_read() {
        let conditions = read(&[
            ("ssh:from", &["10.0.0.0/8", "!10.0.0.1"]),
            ("ssh:expires", &["1970-01-01T00:01:00Z"]),
            ("ssh:command", &["git-shell -c \"$SSH_ORIGINAL_COMMAND\""]),
            ("ssh:environment", &["A=b=c", "B="]),
            ("ssh:no-pty", &["yes"]),
            ("repo", &["anything"]),
        ])
        .unwrap();
        assert!(conditions.from.is_some() && conditions.no_pty);
        let minute = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        assert_eq!(conditions.expires, Some(minute));
        assert_eq!(
            conditions.environment[0],
            ("A".to_owned(), "b=c".to_owned())
        );
        assert_eq!(conditions.environment[1], ("B".to_owned(), String::new()));
        let restrictions = conditions.restrictions();
        assert!(restrictions.no_pty && !restrictions.no_port_forwarding);
        assert!(
            restrictions
                .force_command
                .unwrap()
                .starts_with(b"git-shell")
        );
        assert_eq!(read(&[]), Ok(Conditions::default()));
    }

    #[test]
    fn every_fault_is_named() {
        for (kind, values, why) in [
            ("ssh:form", &["*"][..], "those about SSH are ssh:from"),
            ("ssh:from", &["example.com"], "names are not looked up"),
            ("ssh:from", &[], "no address is let in"),
            ("ssh:expires", &["20301231"], "write it like"),
            ("ssh:expires", &["2030-12-31T00:00:00"], "write it like"),
            ("ssh:expires", &[], "0 values"),
            ("ssh:command", &["a", "b"], "2 values"),
            ("ssh:command", &[""], "not empty"),
            ("ssh:environment", &["1A=b"], "not a variable"),
            ("ssh:environment", &["A"], "not a variable"),
            ("ssh:no-pty", &["true"], "only value"),
        ] {
            let faults = read(&[(kind, values)]).unwrap_err();
            assert!(faults[0].starts_with(kind), "{faults:?}");
            assert!(faults[0].contains(why), "{faults:?}");
        }
    }
}
