//! `reload`.

use clap::Args;

use super::{Failed, StateArg, asked, folder};
use crate::admin::Request;
use crate::reload::Reloaded;

#[derive(Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    state: StateArg,
    /// Only say what would change, and what is wrong
    #[arg(long)]
    dry_run: bool,
}

/// Has the running node put its changed configuration in force.
pub(super) fn reload(args: ReloadArgs) -> Result<(), Failed> {
    let state = folder(args.state)?;
    let dry_run = args.dry_run;
    let hence = "the configuration stays as it was";
    let reloaded: Reloaded = asked(&state, &Request::Reload { dry_run }, hence)?;
    for warning in &reloaded.warnings {
        complain!("alknet-node: {warning}");
    }
    let changed = if reloaded.changed.is_empty() {
        "nothing".to_owned()
    } else {
        reloaded.changed.join(", ")
    };
    if dry_run {
        say!("fine: a reload would change {changed}");
    } else {
        say!(
            "reloaded: generation {}, changed {changed}",
            reloaded.generation
        );
    }
    if !reloaded.needs_restart.is_empty() {
        say!("needs a restart: {}", reloaded.needs_restart.join(", "));
    }
    Ok(())
}
