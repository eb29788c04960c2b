//! `alknet-node reload`: has the running node put its changed configuration in
//! force.

use std::path::Path;

use clap::Args;

use super::{Failed, StateArg, asked, dir, refused, swap};
use crate::admin::{AskError, Request, ask};
use crate::node::reload::Reloaded;
use crate::state::StateDir;

#[derive(Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    state: StateArg,
    /// Only say what would change, and what is wrong
    #[arg(long)]
    dry_run: bool,
    /// A file that is empty, or ends where it went on before, is meant so;
    /// otherwise it is taken for half of a file and refused
    #[arg(long)]
    accept_empty: bool,
    /// Load what changed in the plugins directory first, as `plugins reload`
    /// does. Each of the two is done or refused by itself; the command fails
    /// if any of it was
    #[arg(long, conflicts_with = "dry_run")]
    plugins: bool,
}

/// Has the node that runs, if one does, put in force what was done, in `file` if
/// that says more.
pub(super) fn put_in_force(
    state: &StateDir,
    done: &str,
    file: Option<&Path>,
) -> Result<(), Failed> {
    let request = Request::Reload {
        dry_run: false,
        accept_empty: false,
        accept_peers: true,
    };
    match ask::<Reloaded>(state, &request) {
        Ok(reloaded) => {
            for warning in &reloaded.warnings {
                complain!("alknet-node: {warning}");
            }
            say!("{done}; in force, generation {}", reloaded.generation);
            Ok(())
        }
        Err(AskError::NotRunning { .. }) => {
            say!("{done}; no node runs that would have to know");
            Ok(())
        }
        Err(error) => {
            let place = file.map_or_else(String::new, |file| format!(" in {}", file.display()));
            let hence = format!(
                "{done}{place}, but that is not in force; correct this and run `alknet-node reload`"
            );
            Err(refused(error, &hence))
        }
    }
}

/// Has the running node put its changed configuration in force.
pub(super) fn reload(args: ReloadArgs) -> Result<(), Failed> {
    let state = dir(args.state)?;
    // New plugin files first: they may know settings that the old ones do not.
    let plugins = match args.plugins {
        true => swap::reload_all(&state),
        false => Ok(()),
    };
    let ReloadArgs {
        dry_run,
        accept_empty,
        ..
    } = args;
    let hence = "the configuration stays as it was";
    let request = Request::Reload {
        dry_run,
        accept_empty,
        accept_peers: false,
    };
    let reloaded: Reloaded = asked(&state, &request, hence)?;
    for warning in &reloaded.warnings {
        complain!("alknet-node: {warning}");
    }
    let changed = match (
        reloaded.changed.is_empty(),
        reloaded.needs_restart.is_empty(),
    ) {
        (true, true) => "nothing".to_owned(),
        (true, false) => "nothing but what needs a restart".to_owned(),
        (false, _) => reloaded.changed.join(", "),
    };
    if dry_run {
        say!("fine: a reload would change {changed}");
    } else {
        say!(
            "reloaded: generation {}, changed {changed}",
            reloaded.generation
        );
    }
    if reloaded.tests > 0 {
        say!("tests passed: {}", reloaded.tests);
    }
    if !reloaded.needs_restart.is_empty() {
        say!("needs a restart: {}", reloaded.needs_restart.join(", "));
    }
    plugins
}
