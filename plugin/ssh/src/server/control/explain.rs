//! What would be decided about a request, without doing it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alknet_control::ExplainIdentity;
use alknet_ssh_config::SshConfig;
use alknet_ssh_policy::{Basis, Conditions, Denied, Host, Policy, Subject, listen_addresses};
use serde::{Deserialize, Serialize};

use crate::server::auth::{LogIn, LoginRules};
use crate::server::exec::subsystem::Unavailable;
use crate::server::state::access::{NEEDS_PRIVILEGE, NEEDS_ROOT, Permissions, is_privileged};
use crate::server::state::server_state::{Candidate, ServerState};

/// The log-in that a question assumes.
#[derive(Default, Deserialize)]
pub(super) struct Circumstances {
    /// The address it comes from.
    #[serde(default)]
    pub(super) from: Option<IpAddr>,
    /// The time of the log-in in seconds since 1970; now if not given.
    #[serde(default)]
    pub(super) at: Option<u64>,
    /// The certificate it logs in with, as in a `-cert.pub` file.
    #[serde(default)]
    pub(super) certificate: Option<String>,
}

/// What a peer asks for.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Question {
    Exec {
        command: String,
    },
    Forward {
        host: String,
        port: u16,
        #[serde(default)]
        addresses: Vec<IpAddr>,
    },
    Listen {
        address: String,
        port: u16,
    },
    Streamlocal {
        path: String,
    },
    Shell,
    Sftp,
    Subsystem {
        name: String,
    },
    Agent,
    Env {
        name: String,
    },
}

/// A decision with its reason.
#[derive(Default, Serialize)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) addresses: Vec<AddressVerdict>,
    /// The command that runs in place of the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<String>,
    /// Further conditions, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
    /// The certificate; whose it is, the node knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateOf>,
}

#[derive(Serialize)]
struct CertificateOf {
    ca_fingerprint: String,
    key_id: String,
    serial: u64,
    principals: Vec<String>,
}

/// A rule of the configuration.
#[derive(Serialize)]
pub(super) struct Rule {
    index: usize,
    /// JSON pointer into the handler's configuration.
    pub(super) pointer: String,
}

/// The decision for one address.
#[derive(Serialize)]
pub(super) struct AddressVerdict {
    pub(super) address: String,
    pub(super) allowed: bool,
    pub(super) reason: String,
}

/// A configuration's rules, asked as the server asks them.
pub(super) struct Engine {
    pub(super) config: Arc<SshConfig>,
    permissions: Arc<Permissions>,
    login_rules: Arc<LoginRules>,
}

impl Engine {
    /// Decides by the configuration in force.
    pub(super) fn in_force(core: &ServerState) -> Self {
        Self {
            config: Arc::new(core.active().config.clone()),
            permissions: core.permissions(),
            login_rules: core.login_rules(),
        }
    }

    /// Decides by a configuration that need not be in force.
    pub(super) fn of(candidate: Candidate) -> Self {
        let Candidate {
            config,
            permissions,
            login_rules,
        } = candidate;
        Self {
            config: Arc::new(config),
            permissions,
            login_rules,
        }
    }

    /// The decision about a request of this identity, logged in that way.
    pub(super) fn explain(
        &self,
        identity: &ExplainIdentity,
        log_in: &Circumstances,
        question: &Question,
    ) -> Verdict {
        let conditions = match Conditions::read(&identity.resources) {
            Ok(conditions) => conditions,
            Err(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                return Verdict::denied(format!("it cannot log in: {}", faults.join("; ")));
            }
        };
        let at = log_in.at.map(Duration::from_secs);
        let at = at.map_or_else(SystemTime::now, |at| SystemTime::UNIX_EPOCH + at);
        let terms = LogIn {
            from: log_in.from,
            at,
            certificate: log_in.certificate.as_deref(),
        }
        .terms(&conditions, &self.login_rules);
        let terms = match terms {
            Ok(terms) => terms,
            Err(reason) => return Verdict::denied(reason),
        };
        let subject = &Subject {
            id: &identity.id,
            scopes: &identity.scopes,
            restrictions: &terms.restrictions,
        };
        let mut verdict = self.decide(subject, question);
        let asks_to_run = matches!(
            question,
            Question::Exec { .. } | Question::Shell | Question::Sftp | Question::Subsystem { .. }
        );
        let forced = terms.restrictions.force_command.as_deref();
        if let (Some(forced), true, true) = (forced, asks_to_run, verdict.allowed) {
            verdict.runs = Some(String::from_utf8_lossy(forced).into_owned());
        }
        let value = |kind: &str| identity.resources.get(kind).map(|values| values.join(", "));
        if let (Some(from), None) = (value("ssh:from"), log_in.from) {
            verdict.conditions.push(format!(
                "if it comes from {from} (ssh:from); ask with --from"
            ));
        }
        if let Some(expires) = value("ssh:expires") {
            verdict
                .conditions
                .push(format!("until {expires} (ssh:expires)"));
        }
        if terms.restrictions.no_pty {
            verdict.conditions.push("without a terminal".to_owned());
        }
        verdict.certificate = terms.certificate.map(|query| CertificateOf {
            ca_fingerprint: query.ca_fingerprint,
            key_id: query.key_id,
            serial: query.serial,
            principals: query.principals,
        });
        verdict
    }

    /// Decides as the server does, forced command and all (see [`crate::server::exec::start`]).
    fn decide(&self, subject: &Subject<'_>, question: &Question) -> Verdict {
        let policy = &self.permissions.policy;
        let rules = Rules(&self.config);
        let exec = |command: &[u8]| {
            let decision = policy.exec(subject, command);
            rules.verdict(decision.map(|(_, basis)| basis))
        };
        let file_transfer = || {
            let verdict = rules.verdict(policy.sftp(subject));
            if verdict.allowed && !self.permissions.has_sftp_root && !subject.is_unconfined() {
                return Verdict::denied(NEEDS_ROOT.to_owned());
            }
            verdict
        };
        let is_forced = subject.restrictions.force_command.is_some();
        if let Question::Subsystem { name } = question
            && name != "sftp"
        {
            return match self.config.services.subsystems.get(name) {
                Some(_) if subject.restrictions.forces_sftp() => file_transfer(),
                Some(command) => exec(command.as_bytes()),
                None => Verdict::denied(Unavailable::Unknown.to_string()),
            };
        }
        match question {
            Question::Exec { .. }
            | Question::Shell
            | Question::Sftp
            | Question::Subsystem { .. }
                if subject.restrictions.forces_sftp() =>
            {
                file_transfer()
            }
            Question::Exec { command } => exec(command.as_bytes()),
            Question::Shell if is_forced => exec(b""),
            Question::Sftp | Question::Subsystem { .. } if is_forced => exec(b"internal-sftp"),
            Question::Forward {
                host,
                port,
                addresses,
            } => forward(policy, subject, &rules, host, *port, addresses),
            Question::Listen { address, port } => {
                let verdict = listen(policy, subject, &rules, address, *port);
                if verdict.allowed && is_privileged(*port) && !self.permissions.privileged_ports {
                    return Verdict::denied(NEEDS_PRIVILEGE.to_owned());
                }
                verdict
            }
            Question::Streamlocal { path } => {
                let decision = policy.streamlocal(subject, path);
                rules.verdict(decision.map(|(_, basis)| basis))
            }
            Question::Shell => rules.verdict(policy.shell(subject)),
            Question::Sftp | Question::Subsystem { .. } => file_transfer(),
            Question::Agent => rules.verdict(policy.agent(subject)),
            Question::Env { name } => rules.verdict(policy.env(subject, name)),
        }
    }
}

impl Verdict {
    pub(super) fn denied(reason: String) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }
}

fn forward(
    policy: &Policy,
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    host: &str,
    port: u16,
    addresses: &[IpAddr],
) -> Verdict {
    let host = match Host::parse(host) {
        Ok(host) => host,
        Err(error) => return rules.verdict(Err(error.into())),
    };
    let own = match &host {
        Host::Address(address) => vec![*address],
        Host::Name(_) => Vec::new(),
    };
    let addresses = if own.is_empty() { addresses } else { &own };
    if addresses.is_empty() {
        return by_name_alone(policy, subject, rules, &host, port);
    }
    let mut verdict = match policy.forward_all(subject, &host, port, addresses) {
        Ok(allowed) => match allowed.into_iter().next() {
            Some((_, basis)) => rules.verdict(Ok(basis)),
            None => rules.verdict(Err(Denied::NoAddress)),
        },
        Err(denied) => rules.verdict(Err(denied)),
    };
    if own.is_empty() {
        verdict.addresses = addresses
            .iter()
            .map(|address| {
                let one = rules.verdict(policy.forward(subject, &host, port, *address));
                AddressVerdict::of(address, &one)
            })
            .collect();
    }
    verdict
}

/// The decision about a name whose addresses are not known.
fn by_name_alone(
    policy: &Policy,
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    host: &Host,
    port: u16,
) -> Verdict {
    if let Err(denied) = policy.forward_possible(subject, host, port) {
        return rules.verdict(Err(denied));
    }
    // An address that no rule or scope is about (RFC 5737): what is decided
    // for it is decided by the name.
    let nowhere = IpAddr::from([192, 0, 2, 255]);
    let decision = policy.forward(subject, host, port, nowhere);
    let by_address = matches!(decision, Err(Denied::NoScope { .. }));
    let mut verdict = rules.verdict(decision);
    if by_address {
        verdict.reason = "its addresses decide, and they are not known here".to_owned();
    } else {
        verdict.reason +=
            "; its addresses are not known here, so no rule about addresses was asked";
    }
    verdict
}

/// Decides on a listener, which is allowed where at least one of its addresses
/// is.
fn listen(
    policy: &Policy,
    subject: &Subject<'_>,
    rules: &Rules<'_>,
    asked: &str,
    port: u16,
) -> Verdict {
    let addresses = match listen_addresses(asked) {
        Ok(addresses) => addresses,
        Err(denied) => return rules.verdict(Err(denied)),
    };
    let each: Vec<(IpAddr, Verdict)> = addresses
        .into_iter()
        .map(|bind| {
            let decision = policy.listen(subject, asked, port, bind);
            (bind, rules.verdict(decision))
        })
        .collect();
    let details = match each.len() {
        1 => Vec::new(),
        _ => each
            .iter()
            .map(|(address, verdict)| AddressVerdict::of(address, verdict))
            .collect(),
    };
    let chosen = each.iter().position(|(_, verdict)| verdict.allowed);
    let mut verdict = each
        .into_iter()
        .nth(chosen.unwrap_or(0))
        .map(|(_, verdict)| verdict)
        .unwrap_or_default();
    verdict.addresses = details;
    verdict
}

impl AddressVerdict {
    fn of(address: &IpAddr, verdict: &Verdict) -> Self {
        Self {
            address: address.to_string(),
            allowed: verdict.allowed,
            reason: verdict.reason.clone(),
        }
    }
}

/// The rules of a configuration, for their places in it.
struct Rules<'a>(&'a SshConfig);

impl Rules<'_> {
    fn verdict(&self, decision: Result<Basis, Denied>) -> Verdict {
        match decision {
            Ok(Basis::Rule { index }) => {
                let rule = self.place(index);
                Verdict {
                    allowed: true,
                    reason: format!("the rule at {} allows it", rule.pointer),
                    rule: Some(rule),
                    ..Verdict::default()
                }
            }
            Ok(Basis::Scope(scope)) => Verdict {
                allowed: true,
                reason: format!("the scope {scope} grants it"),
                scope: Some(scope),
                ..Verdict::default()
            },
            Ok(Basis::AcceptEnv(pattern)) => Verdict {
                allowed: true,
                reason: format!("/services/exec/accept_env lists {pattern}"),
                ..Verdict::default()
            },
            Err(Denied::Rule { index }) => {
                let rule = self.place(index);
                Verdict {
                    reason: format!("the rule at {} denies it", rule.pointer),
                    rule: Some(rule),
                    ..Verdict::default()
                }
            }
            Err(denied) => Verdict {
                reason: denied.to_string(),
                ..Verdict::default()
            },
        }
    }

    /// The place of a rule in its list, from the policy's number, which counts
    /// both lists.
    fn place(&self, index: usize) -> Rule {
        let forwarding = self.0.forwarding.rules.len();
        let pointer = match index.checked_sub(forwarding) {
            None => format!("/forwarding/rules/{index}"),
            Some(index) => format!("/services/rules/{index}"),
        };
        Rule { index, pointer }
    }
}
