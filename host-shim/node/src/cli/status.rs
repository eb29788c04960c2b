//! `alknet-node status`: asks the running node over its control socket how it
//! is doing, and prints the answer as text or as JSON.

use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use alknet_loader::shown;
use alknet_lookup::{LookupStatus, ProgramState};
use alknet_session::Mode;
use alknet_text::{bytes, span, visible, visible_json};
use clap::Args;

use super::fit::line;
use super::table::{Cell, Look, both_ways, painted, short, since, table, until};
use super::{Failed, StateArg, asked, dir};
use crate::admin::{GenerationStatus, NodeStatus, Request, Status};

/// The interval of `--watch`.
const PACE: Duration = Duration::from_secs(1);
/// Where what belongs to a name begins.
const INDENT: usize = "node key  ".len();

#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    state: StateArg,
    /// Look again every second
    #[arg(long)]
    watch: bool,
    /// Print JSON: one object, or one a line with --watch
    #[arg(long)]
    json: bool,
}

/// Says how the running node is doing.
pub(super) fn status(args: StatusArgs) -> Result<(), Failed> {
    let state = dir(args.state)?;
    loop {
        let status: Status = asked(&state, &Request::Status {}, "")?;
        let text = match (args.json, args.watch) {
            (true, true) => serde_json::to_string(&status),
            (true, false) => serde_json::to_string_pretty(&status),
            (false, _) => Ok(as_text(&status)),
        };
        let text = match args.json {
            true => visible_json(&text.unwrap_or_default()).into_owned(),
            false => text.unwrap_or_default(),
        };
        if args.watch && !args.json && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            // Home, and clear what is below.
            let _ = std::io::stdout().write_all(b"\x1b[H\x1b[J");
        }
        say!("{text}");
        if !args.watch {
            return Ok(());
        }
        thread::sleep(PACE);
    }
}

/// How the program is doing that is asked who a peer is.
fn lookup(status: &LookupStatus) -> String {
    let state = match status.state {
        ProgramState::Running => painted("running", Look::Good),
        ProgramState::Waiting => painted("ended, is started again", Look::Bad),
        ProgramState::Stopped => painted("stopped", Look::Waning),
    };
    let mut text = format!(
        "lookup    {}, {state}; {} asked, {} found, {} remembered",
        visible(&status.command),
        status.asked,
        status.found,
        status.cached_identities
    );
    if let Some(seconds) = status.outage_seconds {
        let since = painted("does not answer", Look::Bad);
        let consequence = match status.refuses_log_ins {
            true => "nobody but the peers of the file can log in",
            false => "who is remembered can log in",
        };
        text.push_str(&format!("; {since}, for {seconds} s: {consequence}"));
    }
    if let Some(why) = &status.last_error {
        text.push_str(&format!("; last error: {}", visible(why)));
    }
    text
}

fn as_text(status: &Status) -> String {
    let node = &status.node;
    let look = match node.state.as_str() {
        "serving" => Look::Good,
        _ => Look::Waning,
    };
    let mut lines = vec![
        format!(
            "alknet-node {}, {}, process {}, up {}{}, {} loaded",
            node.version,
            painted(&node.state, look),
            node.pid,
            since(node.since_unix_ms),
            node.memory_bytes
                .map(|size| format!(", {} of memory", bytes(size)))
                .unwrap_or_default(),
            match node.libraries {
                1 => "1 library".to_owned(),
                many => format!("{many} libraries"),
            }
        ),
        format!("node key  {}", node.node_key),
        format!(
            "listens   on UDP {}{}",
            node.listen,
            node.tcp_listen
                .as_ref()
                .map(|addr| format!(" and TCP {addr}"))
                .unwrap_or_default()
        ),
        iroh(node),
        format!(
            "config    {}, generation {}, in force for {}",
            shown(&status.config.file),
            status.config.generation,
            since(status.config.since_unix_ms)
        ),
        format!(
            "processes of peers run as {}; unconfined: {}{}",
            match node.processes {
                Some(Mode::Accounts) => "their accounts",
                _ => "the node's own account",
            },
            match node.unconfined.is_empty() {
                true => "nobody".to_owned(),
                false => node.unconfined.join(", "),
            },
            match &node.no_confinement {
                Some(why) => format!("; refused to all others: {why}"),
                None => String::new(),
            }
        ),
    ];
    lines.push(format!(
        "traffic   {} since the start",
        both_ways(Some(status.traffic))
    ));
    if let Some(jobs @ 1..) = node.background_jobs {
        lines.push(format!(
            "jobs      {jobs} in the background; `alknet-node sessions list` shows whose"
        ));
    }
    lines.extend(status.lookup.as_ref().map(lookup));
    if node.log_records_dropped > 0 {
        lines.push(format!(
            "logs      {} {}: standard error is not read, or is full",
            node.log_records_dropped,
            painted("records dropped", Look::Bad)
        ));
    }
    let said = lines.iter().filter(|text| !text.is_empty());
    let mut lines: Vec<_> = said.map(|text| line(text, INDENT)).collect();
    lines.push(String::new());
    lines.push(generations(&status.generations));
    let penalised = status.generations.iter().filter_map(penalised);
    lines.extend(penalised.map(|text| format!("\n{}", line(&text, 0))));
    for refused in &status.refused {
        lines.push(String::new());
        for reason in &refused.reasons {
            let text = format!(
                "{} {} ago: {}",
                painted("refused", Look::Bad),
                since(refused.at_unix_ms),
                visible(reason)
            );
            lines.push(line(&text, 0));
        }
    }
    lines.join("\n")
}

/// How the node is reached through iroh; empty if it is not.
fn iroh(node: &NodeStatus) -> String {
    let Some(iroh) = &node.iroh else {
        return String::new();
    };
    let relay = match (&iroh.relay, iroh.relay_connected) {
        (None, _) => "no relay".to_owned(),
        (Some(relay), true) => format!("relay {} connected", visible(relay)),
        (Some(relay), false) => format!(
            "relay {} {}",
            visible(relay),
            painted("not connected", Look::Bad)
        ),
    };
    format!(
        "iroh      {}, on UDP {}, {relay}",
        iroh.address,
        iroh.listen.join(" and ")
    )
}

/// The addresses that a handler refuses at the moment, if it tells.
fn penalised(generation: &GenerationStatus) -> Option<String> {
    let told = &generation.handler;
    let count = told.get("penalised")?.as_u64().filter(|count| *count > 0)?;
    let sources = told.get("penalised_sources")?.as_array()?.iter();
    let named: Vec<String> = sources
        .filter_map(|one| {
            let source = one.get("source")?.as_str()?;
            Some(format!(
                "{} for {}",
                visible(source),
                span(Duration::from_secs(one.get("seconds")?.as_u64()?))
            ))
        })
        .take(5)
        .collect();
    Some(format!(
        "{} {} refuses {count} penalised {}: {}{}",
        generation.plugin,
        generation.id,
        if count == 1 { "address" } else { "addresses" },
        named.join(", "),
        if count > named.len() as u64 {
            ", …"
        } else {
            ""
        }
    ))
}

/// The generations as a table.
pub(super) fn generations(generations: &[GenerationStatus]) -> String {
    if generations.is_empty() {
        return "no plugin serves; put one into the plugins directory and run `alknet-node plugins reload`".to_owned();
    }
    let rows = generations.iter().map(|generation| {
        let sessions = generation.sessions;
        [
            Cell::from(&generation.plugin),
            Cell::from(&generation.version),
            Cell::from(generation.id),
            state(generation),
            Cell::from(generation.connections),
            Cell::from(sessions.map_or("-".to_owned(), |sessions| sessions.to_string())),
            Cell::from(generation.alpns.join(" ")),
            Cell::from(short(&generation.digest)),
            Cell::from(shown(
                generation
                    .file
                    .file_name()
                    .map_or(&generation.file, Path::new),
            )),
        ]
    });
    let headings = [
        "PLUGIN",
        "VERSION",
        "GENERATION",
        "STATE",
        "CONNECTIONS",
        "SESSIONS",
        "SERVES",
        "DIGEST",
        "FILE",
    ];
    table(headings, rows.collect())
}

fn state(generation: &GenerationStatus) -> Cell {
    match (
        generation.draining_since_unix_ms,
        generation.draining_until_unix_ms,
    ) {
        (None, _) => Cell::looking(
            format!(
                "{} for {}",
                generation.state,
                since(generation.since_unix_ms)
            ),
            Look::Good,
        ),
        (Some(began), None) => {
            Cell::looking(format!("draining for {}", since(began)), Look::Waning)
        }
        (Some(_), Some(end)) => {
            Cell::looking(format!("draining, {} left", until(end)), Look::Waning)
        }
    }
}
