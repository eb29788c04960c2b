//! `check` and `plugins check`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alknet_loader::{LoadedPlugin, Stage, Trust};
use clap::Args;

use super::{
    Failed, StateArg, counted, existing_config, fail, fail_all, folder, print_keys, runtime,
};
use crate::logs;
use crate::plan::Draft;
use crate::plugins::make_handler;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    state: StateArg,
    /// Check this configuration file instead of a state folder's
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
}

/// Names every fault that a start would meet.
pub(super) fn check(args: CheckArgs) -> Result<(), Failed> {
    let file = match args.config {
        Some(file) => file,
        None => existing_config(&folder(args.state)?)?,
    };
    let plan = Draft::read(&file)
        .and_then(Draft::complete)
        .map_err(|problems| {
            let failed = fail_all(&problems);
            complain!("alknet-node: {} to mend", counted(problems.len()));
            failed
        })?;
    let mut found = 0;
    let mut say = |what: &dyn Display| {
        complain!("alknet-node: {what}");
        found += 1;
    };
    plan.warnings.iter().for_each(|warning| say(warning));
    let runtime = runtime(&plan.config)?;
    runtime.block_on(async {
        let filter = logs::parse_filter(&plan.config.log.filter).unwrap_or_default();
        for planned in &plan.plugins {
            let made = make_handler(planned, &plan.keys.host_keys, &plan.peers, &filter, 0);
            if let Err(refused) = made {
                match refused.fault(&plan.source.document) {
                    Some(fault) => say(&fault),
                    None => say(&refused),
                }
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if found > 0 {
        complain!("alknet-node: {} to mend", counted(found));
        return Err(Failed);
    }
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    say!("{}: fine", file.display());
    Ok(())
}

/// The loader's verdict on one file.
pub(super) fn plugin(file: &Path) -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("alknet-check-{}", std::process::id()));
    let stage = Stage::open(&folder).map_err(fail)?;
    let verdict = LoadedPlugin::load(file, &Trust::default(), &stage);
    // Nothing is loaded after this, so the private copies may go.
    let _ = std::fs::remove_dir_all(&folder);
    let plugin = verdict.map_err(|refusal| fail(format_args!("refused: {refusal}")))?;
    let alpns: Vec<_> = plugin.alpns().map(String::from_utf8_lossy).collect();
    say!("accepted: {}", file.display());
    say!("plugin    {} {}", plugin.name(), plugin.version());
    say!("serves    {}", alpns.join(", "));
    say!("digest    {}", plugin.digest());
    say!("interface {}", plugin.interface_version());
    say!("built by  {} for {}", plugin.rustc(), plugin.target());
    Ok(())
}
