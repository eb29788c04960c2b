//! `alknet-node check` and `alknet-node plugins check`: name the faults that a
//! start would meet, without starting the node.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alknet_control::{ControlRequest, SystemReport};
use alknet_document::Fault;
use alknet_handler::ProtocolHandler;
use alknet_loader::{Prepared, Refusal, Trust, TrustedFile, shown};
use alknet_monitor::confinement_support;
use alknet_session::Mode;
use clap::Args;

use super::{
    Failed, StateArg, counted, dir, existing_config, fail, fail_all, print_keys, running_mode,
    runtime,
};
use crate::config::draft::Draft;
use crate::config::trust::configured_trust;
use crate::plugins::{Settings, TestContext, plugin_pointer, try_out};
use crate::startup::accounts;
use crate::startup::plan::Plan;
use crate::state::StateDir;
use crate::walls;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    state: StateArg,
    /// Check this configuration file instead of a state directory's
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// As for `run --accounts`
    #[arg(long)]
    accounts: bool,
}

/// Names every fault that a start would meet.
pub(super) fn check(args: CheckArgs) -> Result<(), Failed> {
    let (file, running) = match args.config {
        Some(file) => (file, None),
        None => {
            let state = dir(args.state)?;
            (existing_config(&state)?, running_mode(&state))
        }
    };
    let as_accounts = args.accounts;
    let mut accounts = Vec::new();
    let plan = Draft::read(&file)
        .and_then(|draft| {
            let peers = draft.read_peers().ok();
            let has = |peers: &_| as_accounts || walls::has_accounts(&draft.config, peers);
            if let Some(peers) = peers.filter(has)
                && walls::is_root()
            {
                accounts = accounts::check(&draft, &peers).1;
                accounts.extend(accounts::shells(&draft, &peers));
            }
            Plan::complete(draft, None)
        })
        .map_err(|problems| {
            let failed = fail_all(&problems);
            complain!("alknet-node: {} to correct", counted(problems.len()));
            failed
        })?;
    let mut found = 0;
    let mut say = |what: &dyn Display| {
        complain!("alknet-node: {what}");
        found += 1;
    };
    plan.warnings.iter().for_each(|warning| say(warning));
    let runtime = runtime(&plan.config)?;
    let peers = plan.peers.config();
    let tests = TestContext {
        document: &plan.source.document,
        config: &plan.config,
        peers: &peers,
    };
    let mut passed = 0;
    runtime.block_on(async {
        for planned in &plan.plugins {
            match plan.handler_to_ask(planned) {
                Ok(handler) => {
                    for (pointer, message) in system_faults(&*handler) {
                        let pointer = format!("{}{pointer}", plugin_pointer(planned.plugin.name()));
                        say(&Fault::at(&plan.source.document, &pointer, message));
                    }
                    match tests.run(&*handler, planned.plugin.name(), &planned.config) {
                        Ok(number) => passed += number,
                        Err(faults) => faults.iter().for_each(|fault| say(fault)),
                    }
                }
                Err(refused) => match refused.fault(&plan.source.document) {
                    Some(fault) => say(&fault),
                    None => say(&refused),
                },
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let served_as_accounts = as_accounts || walls::has_accounts(&plan.config, &peers);
    let guests = match walls::is_root() && served_as_accounts {
        true => walls::confined_accounts(&peers),
        false => walls::guests_with_processes(&peers),
    };
    if let (Err(why), false) = (confinement_support(), guests.is_empty()) {
        complain!(
            "alknet-node: {why}; commands, shells and sftp are refused to {}",
            guests.join(", ")
        );
        found += 1;
    }
    for fault in accounts {
        complain!("alknet-node: {fault}");
        found += 1;
    }
    if found > 0 {
        complain!("alknet-node: {} to correct", counted(found));
        return Err(Failed);
    }
    if walls::is_root() && !served_as_accounts {
        say!("note: {}", walls::ROOT_IS_OWNER);
    }
    // A node of root's that runs already, or one of a user.
    if running == Some(Mode::Owner) || !walls::is_root() {
        let note = walls::accounts_not_served(&plan.config, &peers);
        note.iter().for_each(|note| say!("note: {note}"));
    }
    let unconfined = walls::unconfined(&peers);
    if !unconfined.is_empty() {
        say!("unconfined {}", unconfined.join(", "));
    }
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    if passed > 0 {
        say!("tests     {passed} passed");
    }
    say!("{}: fine", shown(&file));
    Ok(())
}

/// What a handler finds wrong with the machine, given its configuration: the
/// place in the configuration and the fault. Empty where it has no such check.
fn system_faults(handler: &dyn ProtocolHandler) -> Vec<(String, String)> {
    let answer = handler.control(&ControlRequest::CheckSystem {}.to_json());
    let answer = answer.unwrap_or_default();
    let report: SystemReport = serde_json::from_str(&answer).unwrap_or_default();
    report.faults
}

/// The loader's verdict on one file, by the settings of a node if there is one.
pub(super) fn plugin(file: &Path, state: StateArg) -> Result<(), Failed> {
    let (trust, settings, config) = match node_of(state)? {
        Some(config) => {
            let (trust, settings) = settings(&config)?;
            (trust, settings, Some(config))
        }
        None => Default::default(),
    };
    let refused = |refusal: Refusal| fail(format_args!("refused: {refusal}"));
    let contents = TrustedFile::read_library(file, &trust).map_err(refused)?;
    let prepared = Prepared::in_memory(&contents).map_err(refused)?;
    let plugin = try_out(&prepared, &settings).map_err(refused)?;
    say!("accepted: {}", shown(file));
    say!("plugin    {} {}", plugin.name, plugin.version);
    say!("serves    {}", plugin.alpns.join(", "));
    say!("digest    {}", contents.digest());
    if let Some(signer) = contents.signer() {
        say!("signed by {signer}");
    }
    if let Some(config) = config {
        say!("trusted   as {} asks", shown(&config));
    }
    say!("interface {}", plugin.interface);
    say!("built by  {} for {}", plugin.rustc, plugin.target);
    Ok(())
}

/// The configuration of the node that is meant: one that was named must be
/// there.
fn node_of(state: StateArg) -> Result<Option<PathBuf>, Failed> {
    if state.state.is_some() {
        return existing_config(&dir(state)?).map(Some);
    }
    let usual = StateDir::default_location().filter(StateDir::is_initialised);
    Ok(usual.map(|state| state.config_file()))
}

fn settings(config: &Path) -> Result<(Trust, Settings), Failed> {
    let draft = Draft::read(config).map_err(|problems| fail_all(&problems))?;
    let trust = configured_trust(draft.document(), &draft.config).map_err(fail)?;
    Ok((trust, Settings::from(&draft.config.plugins)))
}
