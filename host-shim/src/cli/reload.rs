//! `reload`.

use clap::Args;

use super::{Failed, StateArg, counted, fail, folder};
use crate::admin::{AskError, Request, ask};
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
    let reloaded: Reloaded = match ask(&state, &Request::Reload { dry_run }) {
        Ok(reloaded) => reloaded,
        Err(AskError::Refused(faults)) => {
            for fault in &faults {
                complain!("alknet-node: {}", fault.message);
            }
            let faults = counted(faults.len());
            return Err(fail(format_args!(
                "{faults}; the configuration stays as it was"
            )));
        }
        Err(error) => return Err(fail(error)),
    };
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
