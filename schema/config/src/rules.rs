//! Rules as the configuration writes them, and their translation into those of
//! `alknet-ssh-policy`.

use alknet_ssh_policy::{Action, Rule, RuleError, RuleTarget, Service};
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::SshConfigError;

/// One line of an ordered list of rules. The first rule that is about the
/// peer and matches what it asks for decides; if none does, a scope of its
/// identity must grant it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// What the rule is about, written like a scope without `ssh:`. Hosts are
    /// a name, `*.suffix`, an address, a network or `*`; ports a number, a
    /// range like `8000-8010` or `*`; IPv6 stands in brackets, `[fd00::]/8`.
    #[schemars(length(min = 1), extend("examples" = ["10.0.0.0/8:*"]))]
    pub target: String,
    /// What happens: `allow` or `deny`.
    #[serde(deserialize_with = "action")]
    pub action: RuleAction,
    /// Whom the rule is about: ids of identities, and scopes, which stand for
    /// everyone who has exactly that scope. Default none, which means
    /// everybody.
    #[serde(default)]
    #[schemars(inner(length(min = 1)), extend("examples" = [["alice", "ssh:shell"]]))]
    pub principals: Vec<String>,
}

/// What a rule does to what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

/// Turns a list of rules, found at `pointer`, into those the policy knows.
/// Only the services named may be theirs; `others` says where rules about
/// the rest belong.
pub(crate) fn compile(
    pointer: &str,
    rules: &[PolicyRule],
    services: &[Service],
    others: &str,
) -> Result<Vec<Rule>, SshConfigError> {
    let compile = |(index, rule): (usize, &PolicyRule)| {
        let fault = |field: &str, message| {
            SshConfigError::at(&format!("{pointer}/{index}/{field}"), message)
        };
        let target =
            RuleTarget::parse(&rule.target).map_err(|error| fault("target", error.to_string()))?;
        if !services.contains(&target.service()) {
            let service = target.service();
            let message = format!("rules about {service} belong into {others}");
            return Err(fault("target", message));
        }
        let rule = Rule {
            target,
            action: match rule.action {
                RuleAction::Allow => Action::Allow,
                RuleAction::Deny => Action::Deny,
            },
            principals: rule.principals.clone(),
        };
        match rule.check() {
            Ok(()) => Ok(rule),
            Err(error) => {
                let field = match error {
                    RuleError::DeniedProgram { .. } => "target".to_owned(),
                    RuleError::Principal { index, .. }
                    | RuleError::PrincipalScope { index, .. } => format!("principals/{index}"),
                };
                Err(fault(&field, error.to_string()))
            }
        }
    };
    rules.iter().enumerate().map(compile).collect()
}

/// Reads an action from a string and nothing else: serde would take
/// `{"allow": null}` as well.
fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RuleAction, D::Error> {
    let text = String::deserialize(deserializer)?;
    RuleAction::deserialize(text.into_deserializer())
}
