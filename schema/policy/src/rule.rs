//! Rules: what they are about, whom they are about, and which of them could
//! never match.

use std::fmt;

use crate::scope::{Fault, split};
use crate::{DestinationError, Scope, ScopeError, Service, Subject};

/// One line of an ordered list: who it is about, what it is about, and what
/// is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The requests that the rule is about.
    pub target: RuleTarget,
    /// Whether the rule allows or denies them.
    pub action: Action,
    /// Whom the rule is about: ids of identities, and scopes (exactly as the
    /// identity has them), which stand for everyone who has them. None means
    /// everybody.
    pub principals: Vec<String>,
}

impl Rule {
    /// Checks what the target's own grammar does not.
    ///
    /// # Errors
    /// When the rule could never match, or would not do what it seems to.
    pub fn check(&self) -> Result<(), RuleError> {
        if let (Action::Deny, Scope::Exec(Some(program))) = (self.action, self.target.scope()) {
            return Err(RuleError::DeniedProgram {
                program: program.clone(),
            });
        }
        for (index, principal) in self.principals.iter().enumerate() {
            if principal.starts_with("ssh:") {
                Scope::parse(principal)
                    .map_err(|error| RuleError::PrincipalScope { index, error })?;
            } else if !can_be_an_id(principal) {
                return Err(RuleError::Principal {
                    index,
                    principal: principal.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether the rule is about this peer.
    pub(crate) fn is_about(&self, subject: &Subject<'_>) -> bool {
        let is = |principal: &String| {
            if principal.starts_with("ssh:") {
                subject.scopes.contains(principal)
            } else {
                subject.id == principal
            }
        };
        self.principals.is_empty() || self.principals.iter().any(is)
    }
}

/// What a rule does to what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

/// What a rule is about: a scope without its `ssh:`, such as
/// `listen:127.0.0.1:8080`; a bare `10.0.0.0/8:22` is about forwarding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleTarget(Scope);

impl RuleTarget {
    /// Reads a target. A host that is named like a service needs the long
    /// form: `forward:shell:22`.
    ///
    /// # Errors
    /// When the text is not a known target, or one that could never match.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if let Some(rest) = text.strip_prefix("ssh:")
            && Self::parse(rest).is_ok()
        {
            return Err(ScopeError::ScopeAsTarget {
                target: text.to_owned(),
                right: rest.to_owned(),
            });
        }
        let (service, argument) = split(text).unwrap_or((Service::Forward, Some(text)));
        if service == Service::Unconfined {
            return Err(ScopeError::NotATarget {
                target: text.to_owned(),
            });
        }
        let is_bare = split(text).is_none();
        Scope::from_parts(service, argument)
            .map(Self)
            .map_err(|fault| match fault {
                Fault::Destination(
                    DestinationError::NoPort { .. } | DestinationError::Port { .. },
                ) if is_bare => ScopeError::UnknownTarget {
                    target: text.to_owned(),
                },
                fault => fault.of(text, ""),
            })
    }

    /// The scope that grants the same.
    pub const fn scope(&self) -> &Scope {
        &self.0
    }

    /// The service whose requests the rule is about.
    pub const fn service(&self) -> Service {
        self.0.service()
    }
}

impl From<Scope> for RuleTarget {
    fn from(scope: Scope) -> Self {
        Self(scope)
    }
}

impl fmt::Display for RuleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_target(f)
    }
}

/// The node gives no identity an id with a colon, so that none passes for a
/// scope.
fn can_be_an_id(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule that denies one program, which stops nobody who may run others.
    #[error(
        "a shell can run {program:?} in other ways, so denying it alone denies nothing; allow \
         the programs that are wanted and deny exec after them"
    )]
    DeniedProgram {
        /// The program.
        program: String,
    },
    /// A principal that is neither an id nor a scope.
    #[error("{principal:?} is neither the id of an identity nor a scope, which starts with ssh:")]
    Principal {
        /// The principal's index in the list.
        index: usize,
        /// The text.
        principal: String,
    },
    /// A principal that is a broken scope.
    #[error("{error}")]
    PrincipalScope {
        /// The principal's index in the list.
        index: usize,
        /// What is wrong.
        error: ScopeError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Restrictions;

    fn rule(target: &str, action: Action, principals: &[&str]) -> Rule {
        Rule {
            target: RuleTarget::parse(target).unwrap(),
            action,
            principals: principals.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn a_bare_destination_is_about_forwarding() {
        for (text, written) in [
            ("10.0.0.0/8:*", "forward:10.0.0.0/8:*"),
            ("[::1]:22", "forward:[::1]:22"),
            ("*:*", "forward:*:*"),
            ("ssh:22", "forward:ssh:22"),
            ("forward:shell:22", "forward:shell:22"),
            ("listen:127.0.0.1:8080", "listen:127.0.0.1:8080"),
            ("streamlocal:/run/x", "streamlocal:/run/x"),
            ("exec", "exec"),
            ("exec:22", "exec:22"),
            ("env:LANG", "env:LANG"),
        ] {
            assert_eq!(RuleTarget::parse(text).unwrap().to_string(), written);
        }
    }

    #[test]
    fn a_slip_in_a_target_says_the_right_form() {
        for (text, why) in [
            (
                "exce",
                "is not a known target; there are <host>:<port>, listen:",
            ),
            (
                "exce:ls",
                "is not a known target; there are <host>:<port>, listen:",
            ),
            ("", "is not a known target"),
            ("shell:22", "expected shell"),
            ("exec:a b", "expected exec or exec:<program>"),
            ("ssh:exec", "as a target it is written \"exec\""),
            (
                "ssh:forward:db:22",
                "as a target it is written \"forward:db:22\"",
            ),
            ("10.1.0.0/8:22", "write 10.0.0.0/8"),
            ("unconfined", "grant it to a peer as a scope"),
            ("db:0", "port 0"),
            ("forward:db:x", "\"x\" is not a port"),
        ] {
            let message = RuleTarget::parse(text).unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn a_rule_is_about_the_ids_and_scopes_it_names() {
        let scopes = ["ssh:shell".to_owned(), "bob".to_owned()];
        let alice = Subject {
            id: "alice",
            scopes: &scopes,
            restrictions: Restrictions::none(),
        };
        for (principals, about) in [
            (vec![], true),
            (vec!["alice"], true),
            (vec!["carol", "ssh:shell"], true),
            (vec!["Alice"], false),
            (vec!["ssh:sftp"], false),
            (vec!["bob"], false),
        ] {
            let rule = rule("exec", Action::Deny, &principals);
            assert_eq!(rule.is_about(&alice), about, "{principals:?}");
        }
    }

    #[test]
    fn an_id_that_looks_like_a_scope_is_none() {
        let impostor = Subject {
            id: "ssh:shell",
            scopes: &[],
            restrictions: Restrictions::none(),
        };
        assert!(!rule("exec", Action::Allow, &["ssh:shell"]).is_about(&impostor));
    }

    #[test]
    fn denying_one_program_is_refused() {
        let error = rule("exec:rm", Action::Deny, &[]).check().unwrap_err();
        assert!(
            error.to_string().contains("deny exec after them"),
            "{error}"
        );
        rule("exec:rm", Action::Allow, &[]).check().unwrap();
        rule("exec", Action::Deny, &[]).check().unwrap();
    }

    #[test]
    fn a_principal_is_an_id_or_a_scope() {
        let check = |principal| rule("exec", Action::Allow, &["alice", principal]).check();
        for good in [
            "a",
            "ci-runner_2",
            "alice@example.org",
            "ssh:exec:ls",
            "ssh:unconfined",
        ] {
            check(good).unwrap();
        }
        for bad in ["", "a b", "shh:exec", "a\n"] {
            assert!(
                matches!(check(bad), Err(RuleError::Principal { index: 1, .. })),
                "{bad:?}"
            );
        }
        for bad in ["ssh:", "ssh:exce", "ssh:forward:db"] {
            assert!(
                matches!(check(bad), Err(RuleError::PrincipalScope { index: 1, .. })),
                "{bad:?}"
            );
        }
    }
}
