//! `alknet-node plugins list|reload|rollback|unload`: shows and replaces the
//! versions of plugins in a running node.

use std::path::Path;

use alknet_loader::shown;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::status::generations;
use super::table::{Look, painted, short};
use super::{Failed, StateArg, asked, dir, print_json, refused};
use crate::admin::{self, AskError, Request, Status};
use crate::config::problem::FaultReport;
use crate::node::swaps::{GenerationId, Outcome, Swapped};
use crate::state::StateDir;

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    state: StateArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ReloadArgs {
    /// The plugin; all that changed if none is named
    #[arg(add = super::complete::plugins())]
    name: Option<String>,
    #[command(flatten)]
    state: StateArg,
    /// Swap it even if its file did not change, so that it takes settings and
    /// secrets that it reads at its start only
    #[arg(long, requires = "name")]
    force: bool,
    /// Go on where that ends sessions, since too many replaced versions would
    /// have some left (`max_draining` under [plugins])
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RollbackArgs {
    /// The plugin; may be left out where only one was swapped
    #[arg(add = super::complete::plugins())]
    name: Option<String>,
    #[command(flatten)]
    state: StateArg,
    /// Go on where that ends sessions, as for `reload`
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct UnloadArgs {
    /// The plugin
    #[arg(add = super::complete::plugins())]
    name: String,
    #[command(flatten)]
    state: StateArg,
    /// Go on where that ends sessions, as for `reload`
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows the versions of plugins that serve or have connections left.
pub(super) fn list(args: ListArgs) -> Result<(), Failed> {
    let state = dir(args.state)?;
    let status: Status = asked(&state, &Request::Status {}, "")?;
    if args.json {
        return print_json(&status.generations);
    }
    say!("{}", generations(&status.generations));
    Ok(())
}

/// Has the running node load what changed in its plugins directory.
pub(super) fn reload(args: ReloadArgs) -> Result<(), Failed> {
    let request = Request::PluginsReload {
        name: args.name,
        force: args.force,
        confirm: !args.yes,
    };
    let state = dir(args.state)?;
    report(&confirmed(&state, &request)?, args.json)
}

/// Has the running node load what changed, as part of a greater reload. Says
/// what came of it.
pub(super) fn reload_all(state: &StateDir) -> Result<(), Failed> {
    let request = Request::PluginsReload {
        name: None,
        force: false,
        // Nobody is there to ask.
        confirm: false,
    };
    report(&confirmed(state, &request)?, false)
}

fn confirmed(state: &StateDir, request: &Request) -> Result<Answer, Failed> {
    match admin::ask(state, request) {
        // A node that was started before an upgrade asks nobody.
        Err(AskError::Refused(faults)) if faults.iter().any(is_unknown_to_node) => {
            let mut request = request.clone();
            if let Request::PluginsReload { confirm, .. }
            | Request::PluginsRollback { confirm, .. }
            | Request::PluginsUnload { confirm, .. } = &mut request
            {
                *confirm = false;
            }
            asked(state, &request, "nothing was swapped")
        }
        answer => answer.map_err(|error| refused(error, "nothing was swapped")),
    }
}

fn is_unknown_to_node(fault: &FaultReport) -> bool {
    fault.message.contains("unknown field `confirm`")
}

/// Has the version before the last swap serve again.
pub(super) fn rollback(args: RollbackArgs) -> Result<(), Failed> {
    let request = Request::PluginsRollback {
        name: args.name,
        confirm: !args.yes,
    };
    let state = dir(args.state)?;
    report(&confirmed(&state, &request)?, args.json)
}

/// Has a plugin serve no more.
pub(super) fn unload(args: UnloadArgs) -> Result<(), Failed> {
    let request = Request::PluginsUnload {
        name: args.name,
        confirm: !args.yes,
    };
    let state = dir(args.state)?;
    report(&confirmed(&state, &request)?, args.json)
}

#[derive(Serialize, Deserialize)]
struct Answer {
    plugins: Vec<Swapped>,
}

fn report(answer: &Answer, json: bool) -> Result<(), Failed> {
    if json {
        print_json(&answer.plugins)?;
    } else if answer.plugins.is_empty() {
        say!("there is no plugin to load");
    } else {
        answer.plugins.iter().for_each(print);
    }
    match answer.plugins.iter().any(Swapped::failed) {
        true => Err(Failed),
        false => Ok(()),
    }
}

fn print(swapped: &Swapped) {
    let name = swapped.plugin.as_deref().unwrap_or("?");
    let file = shown(&swapped.file);
    match &swapped.outcome {
        Outcome::Unchanged { generation } => {
            say!("{name}: unchanged, generation {generation} serves on");
        }
        Outcome::Serves {
            now,
            replaced,
            warnings,
        } => {
            let instead = replaced
                .as_ref()
                .map(|replaced| format!(" in place of {}", marks(replaced)));
            let word = painted("serves", Look::Good);
            say!(
                "{name}: {} {word}{}",
                marks(now),
                instead.unwrap_or_default()
            );
            warnings
                .iter()
                .for_each(|warning| complain!("alknet-node: {warning}"));
        }
        Outcome::Unloaded { before } => {
            say!("{name}: unloaded; connections on {} go on", marks(before));
        }
        Outcome::Held => {
            say!("{name}: {file} was left alone; it is what was rolled back from or unloaded")
        }
        Outcome::FileGone { generation } => say!(
            "{name}: {file} is gone; generation {generation} serves on (`alknet-node plugins unload {name}` ends that)"
        ),
        Outcome::Refused { faults, serving } => {
            for fault in faults {
                complain!("alknet-node: refused: {}", fault.message);
            }
            if let Some(serving) = serving {
                say!("{name}: {} serves on", marks(serving));
            } else {
                say!("{}: does not serve", base(&swapped.file));
            }
        }
    }
}

fn marks(kept: &GenerationId) -> String {
    format!(
        "version {} (generation {}, sha256 {})",
        kept.version,
        kept.generation,
        short(&kept.digest)
    )
}

fn base(file: &Path) -> String {
    shown(file.file_name().map_or(file, Path::new))
}
