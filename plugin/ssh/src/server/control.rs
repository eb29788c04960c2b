//! Requests of the node beyond the handler's own methods, as JSON.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use alknet_control::{
    ConfigVerdict, ControlRequest, Explain, ExplainIdentity, HandedOver, Refused, SessionList,
    SystemReport,
};
use alknet_handler::ConfigError;
use alknet_ssh_config::SshConfig;
use alknet_ssh_policy::{Basis, Conditions, Denied, Host, Policy, Subject, listen_addresses};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::auth::LogIn;
use super::check_system;
use super::state::access::{NEEDS_PRIVILEGE, NEEDS_ROOT, is_privileged};
use super::state::server_state::ServerState;

/// The state that one handler hands to the next.
#[derive(Default, Serialize, Deserialize)]
struct TransferredState {
    #[serde(default)]
    penalties: serde_json::Value,
}

/// The log-in that a question assumes.
#[derive(Default, Deserialize)]
struct Circumstances {
    /// The address it comes from.
    #[serde(default)]
    from: Option<IpAddr>,
    /// The time of the log-in in seconds since 1970; now if not given.
    #[serde(default)]
    at: Option<u64>,
    /// The certificate it logs in with, as in a `-cert.pub` file.
    #[serde(default)]
    certificate: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Question {
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
    Agent,
    Env {
        name: String,
    },
}

/// A decision with its reason.
#[derive(Default, Serialize)]
struct Verdict {
    allowed: bool,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<AddressVerdict>,
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

#[derive(Serialize)]
struct Rule {
    index: usize,
    /// JSON pointer into the handler's configuration.
    pointer: String,
}

#[derive(Serialize)]
struct AddressVerdict {
    address: String,
    allowed: bool,
    reason: String,
}

/// Answers a request.
///
/// # Errors
/// When it is not understood.
pub(super) fn answer(core: &ServerState, request: &str) -> Result<String, ConfigError> {
    let request = serde_json::from_str(request).map_err(not_understood)?;
    match request {
        ControlRequest::IdentitiesChanged {} => {
            core.permissions_changed();
            Ok("{}".to_owned())
        }
        ControlRequest::CheckConfig { config } => {
            let refused = core.check(&config.to_string()).err();
            let refused =
                refused.map(|ConfigError { pointer, message }| Refused { pointer, message });
            Ok(json!(ConfigVerdict { refused }).to_string())
        }
        ControlRequest::CheckSystem {} => {
            let faults = check_system::faults(&core.active().config.services);
            Ok(json!(SystemReport { faults }).to_string())
        }
        ControlRequest::Sessions {} => {
            let sessions = core.list.list();
            Ok(json!(SessionList { sessions }).to_string())
        }
        ControlRequest::CloseSession { id } => {
            if core.list.close(id) {
                Ok("{}".to_owned())
            } else {
                Err(ConfigError {
                    pointer: String::new(),
                    message: format!("there is no session {id}"),
                })
            }
        }
        ControlRequest::HandOver {} => {
            let state = json!(TransferredState {
                penalties: core.admission.hand_over(),
            });
            Ok(json!(HandedOver { state: Some(state) }).to_string())
        }
        ControlRequest::TakeOver { state } => {
            let state: TransferredState = serde_json::from_value(state).map_err(not_understood)?;
            let limits = &core.active().config.limits;
            core.admission.take_over(&state.penalties, limits);
            Ok("{}".to_owned())
        }
        ControlRequest::Replaced { by } => {
            core.set_replaced(by.as_deref());
            Ok("{}".to_owned())
        }
        ControlRequest::Explain(Explain {
            identity,
            request,
            log_in,
        }) => {
            let request = serde_json::from_value(request).map_err(not_understood)?;
            let log_in: Option<Circumstances> =
                serde_json::from_value(log_in).map_err(not_understood)?;
            let verdict = explain(core, &identity, &log_in.unwrap_or_default(), &request);
            Ok(json!(verdict).to_string())
        }
        // That is the SDK's.
        ControlRequest::SetLogFilter { .. } => Err(ConfigError::at("/command", "unknown command")),
    }
}

fn not_understood(error: serde_json::Error) -> ConfigError {
    ConfigError::new(format!("the request is not understood: {error}"))
}

fn explain(
    core: &ServerState,
    identity: &ExplainIdentity,
    log_in: &Circumstances,
    question: &Question,
) -> Verdict {
    let (config, login_rules) = (&core.active().config, &core.login_rules());
    let has_sftp_root = core.permissions().has_sftp_root;
    let denied = |reason| Verdict {
        reason,
        ..Verdict::default()
    };
    let conditions = match Conditions::read(&identity.resources) {
        Ok(conditions) => conditions,
        Err(faults) => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            return denied(format!("it cannot log in: {}", faults.join("; ")));
        }
    };
    let at = log_in.at.map(Duration::from_secs);
    let at = at.map_or_else(SystemTime::now, |at| SystemTime::UNIX_EPOCH + at);
    let terms = LogIn {
        from: log_in.from,
        at,
        certificate: log_in.certificate.as_deref(),
    }
    .terms(&conditions, login_rules);
    let terms = match terms {
        Ok(terms) => terms,
        Err(reason) => return denied(reason),
    };
    let subject = &Subject {
        id: &identity.id,
        scopes: &identity.scopes,
        restrictions: &terms.restrictions,
    };
    let mut verdict = decide(config, has_sftp_root, subject, question);
    let asks_to_run = matches!(
        question,
        Question::Exec { .. } | Question::Shell | Question::Sftp
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

/// Decides as the server does, forced command and all (see [`super::exec::start`]).
fn decide(
    config: &SshConfig,
    has_sftp_root: bool,
    subject: &Subject<'_>,
    question: &Question,
) -> Verdict {
    let policy = &config.policy();
    let rules = Rules(config);
    let exec = |command: &[u8]| {
        let decision = policy.exec(subject, command);
        rules.verdict(decision.map(|(_, basis)| basis))
    };
    let file_transfer = || {
        let verdict = rules.verdict(policy.sftp(subject));
        if verdict.allowed && !has_sftp_root && !subject.is_unconfined() {
            return Verdict {
                reason: NEEDS_ROOT.to_owned(),
                ..Verdict::default()
            };
        }
        verdict
    };
    let is_forced = subject.restrictions.force_command.is_some();
    match question {
        Question::Exec { .. } | Question::Shell | Question::Sftp
            if subject.restrictions.forces_sftp() =>
        {
            file_transfer()
        }
        Question::Exec { command } => exec(command.as_bytes()),
        Question::Shell if is_forced => exec(b""),
        Question::Sftp if is_forced => exec(b"internal-sftp"),
        Question::Forward {
            host,
            port,
            addresses,
        } => forward(policy, subject, &rules, host, *port, addresses),
        Question::Listen { address, port } => {
            let verdict = listen(policy, subject, &rules, address, *port);
            if verdict.allowed && is_privileged(*port) && !config.forwarding.privileged_ports {
                return Verdict {
                    reason: NEEDS_PRIVILEGE.to_owned(),
                    ..Verdict::default()
                };
            }
            verdict
        }
        Question::Streamlocal { path } => {
            let decision = policy.streamlocal(subject, path);
            rules.verdict(decision.map(|(_, basis)| basis))
        }
        Question::Shell => rules.verdict(policy.shell(subject)),
        Question::Sftp => file_transfer(),
        Question::Agent => rules.verdict(policy.agent(subject)),
        Question::Env { name } => rules.verdict(policy.env(subject, name)),
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
