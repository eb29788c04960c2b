//! `alknet-node policy explain`: says whether a peer may run a command or
//! reach a target, and by which rule.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use alknet_document::{Document, Format};
use alknet_text::visible_json;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{Failed, StateArg, dir, existing_config, fail, fail_all, runtime};
use crate::config::draft::Draft;
use crate::plugins::explain::{Answer, Asked, LogIn, explain, is_address};
use crate::plugins::plugin_pointer;
use crate::startup::plan::Plan;

#[derive(Subcommand)]
pub(super) enum PolicyCommand {
    /// Say whether a peer may do something, and why. Nothing is done, and no
    /// node needs to run: the files are read, and the plugin is asked.
    #[command(after_help = "Exit status: 0 allowed, 1 denied, 2 no answer.")]
    Explain(ExplainArgs),
}

#[derive(Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    state: StateArg,
    /// Read this configuration file instead of a state directory's
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The plugin to ask
    #[arg(long, value_name = "NAME", default_value = "ssh")]
    plugin: String,
    /// Answer with a JSON object
    #[arg(long)]
    json: bool,
    /// Print the question and its answer as a test for the configuration, which
    /// then holds the policy to it
    #[arg(long, conflicts_with_all = ["json", "certificate"])]
    as_test: bool,
    /// Who asks: the id of a peer
    #[arg(long, value_name = "ID", add = super::complete::peers())]
    identity: String,
    /// Answer as of this time, such as 2030-12-31T00:00:00Z, instead of now
    #[arg(long, value_name = "TIME")]
    as_of: Option<jiff::Timestamp>,
    /// Answer for a peer that comes from this address
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// Answer for a peer that logs in with this certificate, a -cert.pub file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Run a command
    Exec {
        /// The command and its arguments; several are joined by spaces
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Reach a target through the node
    Forward {
        /// A name or an address, and a port; IPv6 in brackets
        #[arg(value_name = "HOST:PORT")]
        target: String,
        /// What the name stands for, instead of looking it up here; may be repeated
        #[arg(long = "address", value_name = "IP")]
        addresses: Vec<IpAddr>,
    },
    /// Have the node listen
    Listen {
        /// An address, `localhost`, `*` or nothing, and a port; IPv6 in brackets
        #[arg(value_name = "ADDRESS:PORT")]
        target: String,
    },
    /// Reach a Unix socket
    Streamlocal {
        /// The path of the socket
        path: String,
    },
    /// Have a shell
    Shell,
    /// Use SFTP
    Sftp,
    /// Use another subsystem
    Subsystem {
        /// The name of the subsystem
        name: String,
    },
    /// Have the peer's agent forwarded
    Agent,
    /// Set an environment variable
    Env {
        /// The name of the variable
        name: String,
    },
}

/// Answers a question about the policy.
pub(super) fn policy(command: PolicyCommand) -> ExitCode {
    let PolicyCommand::Explain(args) = command;
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failed) => ExitCode::from(2),
    }
}

fn run(args: ExplainArgs) -> Result<bool, Failed> {
    let mut asked = asked(args.kind)?;
    let file = match args.config {
        Some(file) => file,
        None => existing_config(&dir(args.state)?)?,
    };
    let plan = Draft::read(&file)
        .and_then(|draft| Plan::complete(draft, None))
        .map_err(|problems| fail_all(&problems))?;
    let certificate = args.certificate.map(certificate).transpose()?;
    let log_in = LogIn {
        from: args.from,
        at: args
            .as_of
            .map(|at| u64::try_from(at.as_second()).unwrap_or_default()),
        certificate,
    };
    let runtime = runtime(&plan.config)?;
    let answering = answer(&plan, &args.plugin, &args.identity, &log_in, &mut asked);
    let answer = runtime.block_on(answering);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let answer = answer?;
    if args.as_test {
        let test = Test::of(&args.identity, &log_in, &asked, answer.allowed);
        say!("{}", test.to_text(&args.plugin, &plan.source.document));
    } else if args.json {
        let explained = Explained {
            identity: &args.identity,
            request: &asked,
            answer: &answer,
            rule_place: place_of_rule(&answer, &plan, &args.plugin),
        };
        say!("{}", visible_json(&json!(explained).to_string()));
    } else {
        say!("{}", as_text(&answer, &plan, &args.plugin, &asked));
    }
    Ok(answer.allowed)
}

fn certificate(file: PathBuf) -> Result<String, Failed> {
    std::fs::read_to_string(&file)
        .map(|text| text.trim().to_owned())
        .map_err(|error| fail(format_args!("{}: {error}", file.display())))
}

fn asked(kind: Kind) -> Result<Asked, Failed> {
    Ok(match kind {
        Kind::Exec { command } => Asked::Exec {
            command: command.join(" "),
        },
        Kind::Forward { target, addresses } => {
            let (host, port) = host_and_port(&target)?;
            Asked::Forward {
                host,
                port,
                addresses,
            }
        }
        Kind::Listen { target } => {
            let (address, port) = host_and_port(&target)?;
            Asked::Listen { address, port }
        }
        Kind::Streamlocal { path } => Asked::StreamLocal { path },
        Kind::Shell => Asked::Shell,
        Kind::Sftp => Asked::Sftp,
        Kind::Subsystem { name } => Asked::Subsystem { name },
        Kind::Agent => Asked::Agent,
        Kind::Env { name } => Asked::Env { name },
    })
}

fn host_and_port(text: &str) -> Result<(String, u16), Failed> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if inner.is_none() && host.contains(':') {
            return None;
        }
        Some((inner.unwrap_or(host).to_owned(), port.parse().ok()?))
    });
    parsed.ok_or_else(|| {
        fail(format_args!(
            "{text:?} is not HOST:PORT; expected something like db.internal:5432 or [::1]:22, with a port up to 65535"
        ))
    })
}

async fn answer(
    plan: &Plan,
    plugin: &str,
    identity: &str,
    log_in: &LogIn,
    asked: &mut Asked,
) -> Result<Answer, Failed> {
    let Some(planned) = plan.plugins.iter().find(|p| p.plugin.name() == plugin) else {
        for warning in &plan.warnings {
            complain!("alknet-node: {warning}");
        }
        let names: Vec<_> = plan.plugins.iter().map(|p| p.plugin.name()).collect();
        return Err(fail(format_args!(
            "there is no plugin {plugin:?} to ask; loaded: {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        )));
    };
    let handler = plan.handler_to_ask(planned).map_err(fail)?;
    let peers = (&*plan.peers.config(), plan.peers.as_ref() as _);
    explain(handler.as_ref(), peers, identity, log_in, asked)
        .await
        .map_err(fail)
}

/// A question and its answer as an entry of the plugin's `tests`.
#[derive(Serialize)]
struct Test<'a> {
    identity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<&'a [IpAddr]>,
    expect: &'static str,
}

impl<'a> Test<'a> {
    fn of(identity: &'a str, log_in: &LogIn, asked: &'a Asked, allowed: bool) -> Self {
        let request = asked.to_string();
        let request = request.strip_prefix("ssh:").unwrap_or(&request);
        let dns = match asked {
            Asked::Forward {
                host, addresses, ..
            } if !is_address(host) => Some(addresses.as_slice()),
            _ => None,
        };
        let at = log_in.at.and_then(|at| i64::try_from(at).ok());
        let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        Self {
            identity,
            from: log_in.from,
            at: at.map(|at| at.to_string()),
            request: request.to_owned(),
            dns,
            expect: if allowed { "allow" } else { "deny" },
        }
    }

    /// In the language of the configuration.
    fn to_text(&self, plugin: &str, configuration: &Document) -> String {
        if Format::of(Path::new(configuration.name())) == Some(Format::Json) {
            return visible_json(&json!(self).to_string()).into_owned();
        }
        let mut text = format!("[[plugins.config.{plugin}.tests]]");
        let mut add = |name: &str, value: toml_edit::Value| {
            text.push_str(&format!("\n{name} = {}", value.to_string().trim()));
        };
        add("identity", self.identity.into());
        self.from
            .into_iter()
            .for_each(|from| add("from", from.to_string().into()));
        self.at.iter().for_each(|at| add("at", at.into()));
        add("request", self.request.as_str().into());
        if let Some(dns) = self.dns {
            add("dns", dns.iter().map(ToString::to_string).collect());
        }
        add("expect", self.expect.into());
        text
    }
}

/// The answer as `policy explain --json` prints it.
#[derive(Serialize)]
struct Explained<'a> {
    identity: &'a str,
    request: &'a Asked,
    #[serde(flatten)]
    answer: &'a Answer,
    /// File, line and JSON pointer of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_place: Option<String>,
}

fn as_text(answer: &Answer, plan: &Plan, plugin: &str, asked: &Asked) -> String {
    let word = |allowed| if allowed { "allow" } else { "deny " };
    let mut text = format!("{}  {asked}", word(answer.allowed));
    let basis = match (&answer.scope, place_of_rule(answer, plan, plugin)) {
        (Some(scope), _) => format!("scope {scope}"),
        (None, Some(place)) => format!("rule {place}"),
        (None, None) => answer.reason.clone(),
    };
    text.push_str(&format!("  ({basis})"));
    let widest = answer.addresses.iter().map(|one| one.address.len()).max();
    for one in &answer.addresses {
        text.push_str(&format!(
            "\n       {:width$}  {}  {}",
            one.address,
            word(one.allowed),
            one.reason,
            width = widest.unwrap_or_default(),
        ));
    }
    if let Some(command) = &answer.runs {
        text.push_str(&format!("\n       runs {command:?} in its place"));
    }
    for condition in &answer.conditions {
        text.push_str(&format!("\n       {condition}"));
    }
    text
}

/// File, line and JSON pointer of the rule that decided.
fn place_of_rule(answer: &Answer, plan: &Plan, plugin: &str) -> Option<String> {
    let rule = answer.rule.as_ref()?;
    let pointer = format!("{}{}", plugin_pointer(plugin), rule.pointer);
    let document = &plan.source.document;
    let line = document.locate(&pointer).line;
    Some(format!("{}:{line} {pointer}", document.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("db:5432", "db", 5432),
            ("[::1]:22", "::1", 22),
            ("10.0.0.1:0", "10.0.0.1", 0),
            (":8080", "", 8080),
            ("*:80", "*", 80),
        ] {
            let read = host_and_port(text).ok();
            assert_eq!(read, Some((host.to_owned(), port)), "{text}");
        }
        for text in ["db", "db:", "db:65536", "::1:22", "db:-1", "[::1]", ""] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }
}
