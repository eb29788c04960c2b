//! Accounts mode: root starts the node, this process becomes the monitor, and
//! the node runs as a user without rights. Peers' processes run as accounts of
//! the system.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use alknet_identity::PeersConfig;
use alknet_monitor::{
    AccountIds, AccountsConfig as MonitorAccounts, MonitorConfig, NodeProgram, start_accounts_mode,
};

use crate::config::AccountsConfig;
use crate::config::draft::Draft;
use crate::secrets::handed_over::StartOptions;
use crate::startup::state_rights::{self, set_rights};
use crate::state::StateDir;
use crate::state::owners_keys;

/// A node that is ready to be started in accounts mode.
#[derive(Debug)]
pub(crate) struct Prepared {
    config: MonitorConfig,
    node: NodeProgram,
}

impl Prepared {
    /// Becomes the monitor; returns when the node has ended, with its status.
    /// This process must have no other thread.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn start(self) -> io::Result<ExitCode> {
        start_accounts_mode(self.config, self.node)
    }
}

/// Checks all that accounts mode needs, gives the files of the state directory
/// their rights, and reads the secrets.
///
/// # Errors
/// Every fault, one line each.
pub(crate) fn prepare(
    state: &StateDir,
    draft: &Draft,
    peers: &PeersConfig,
    start: StartOptions,
) -> Result<Prepared, Vec<String>> {
    let accounts = draft.config.accounts.clone().unwrap_or_default();
    let (network, faults) = check(draft, peers);
    let Some(network) = network.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    set_rights(state, draft, &network).map_err(|error| vec![error.to_string()])?;
    let handed_over = draft.hand_over();
    let mut handed_over = handed_over
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    handed_over.start = start;
    let secrets = handed_over.to_bytes().ok_or_else(|| {
        vec!["the secrets granted to plugins are longer than 1 MiB in all".to_owned()]
    })?;
    let mut private = draft.private();
    private.extend(owners_keys());
    Ok(Prepared {
        config: MonitorConfig {
            guest_homes: draft.guest_homes(),
            private,
            accounts: Some(MonitorAccounts {
                network_user: accounts.network_user,
                default_account: accounts.default_account,
                allow_root: accounts.allow_root,
                peers: draft.peers_file(),
            }),
        },
        node: NodeProgram {
            arguments: vec!["run".into(), "--state".into(), OsString::from(state.root())],
            environment: std::env::vars_os().collect(),
            secrets,
            descriptors: Vec::new(),
        },
    })
}

/// The network-facing account, and what would keep a node from serving
/// accounts, one line for each fault.
pub(crate) fn check(draft: &Draft, peers: &PeersConfig) -> (Option<AccountIds>, Vec<String>) {
    let accounts = draft.config.accounts.clone().unwrap_or_default();
    let mut faults = Vec::new();
    let network = network_account(&accounts, &mut faults);
    if let Some(network) = &network {
        faults.extend(state_rights::faults(draft, &accounts.network_user, network));
    }
    let default = accounts.default_account.iter();
    faults.extend(default.filter_map(|name| {
        let fault = unusable(name, &accounts, network.as_ref())?;
        Some(format!("accounts.default_account: {fault}"))
    }));
    for peer in peers.peers.iter().filter(|peer| !peer.disabled) {
        let listed = peer.accounts.iter();
        faults.extend(listed.filter_map(|name| {
            let fault = unusable(name, &accounts, network.as_ref())?;
            Some(format!("accounts of the peer {}: {fault}", peer.id))
        }));
    }
    (network, faults)
}

/// Accounts whose peers may run commands, with a login shell that lets nobody
/// run any; one line each. A start does without this: files can be transferred
/// all the same.
pub(crate) fn shells(draft: &Draft, peers: &PeersConfig) -> Vec<String> {
    let ssh = draft.config.plugins.config.get("ssh");
    let services = ssh.and_then(|ssh| ssh.get("services"));
    if services.is_some_and(|services| services.pointer("/exec/shell").is_some()) {
        return Vec::new();
    }
    let runs = |scope: &String| scope == "ssh:exec" || scope == "ssh:shell";
    let peers = peers.peers.iter().filter(|peer| !peer.disabled);
    let mut accounts: Vec<&String> = peers
        .filter(|peer| peer.scopes.iter().any(runs))
        .flat_map(|peer| &peer.accounts)
        .collect();
    accounts.sort();
    accounts.dedup();
    let shell = |name: &&String| AccountIds::of(name).ok().flatten().map(|ids| ids.shell);
    let accounts = accounts
        .into_iter()
        .filter_map(|name| Some((name, shell(&name)?)));
    accounts
        .filter(|(_, shell)| shell.ends_with("nologin") || shell.ends_with("false"))
        .map(|(name, shell)| {
            format!(
                "the account {name} has the login shell {}, which ends whatever peers run with it; give it one (chsh -s /bin/sh {name}), or set services.exec.shell",
                shell.display()
            )
        })
        .collect()
}

fn network_account(accounts: &AccountsConfig, faults: &mut Vec<String>) -> Option<AccountIds> {
    let name = &accounts.network_user;
    match AccountIds::of(name) {
        Ok(Some(ids)) if ids.user != 0 => return Some(ids),
        Ok(Some(_)) => faults.push(format!(
            "accounts.network_user: {name} has root's rights; name an account without"
        )),
        Ok(None) => faults.push(format!(
            "there is no account {name} for the process that talks to the network (accounts.network_user); make it: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}"
        )),
        Err(error) => faults.push(format!("cannot look up the account {name}: {error}")),
    }
    None
}

/// The reason for which no peer can have an account; `None` if one can.
fn unusable(name: &str, accounts: &AccountsConfig, network: Option<&AccountIds>) -> Option<String> {
    match AccountIds::of(name) {
        Ok(None) => Some(format!(
            "there is no account {name} on this machine; make it (useradd), or take it out"
        )),
        Ok(Some(ids)) if ids.user == 0 && !accounts.allow_root => Some(format!(
            "{name} has root's rights; allow it with `allow_root = true` under [accounts], or take it out"
        )),
        Ok(Some(ids)) if network.is_some_and(|network| network.user == ids.user) => Some(format!(
            "{name} is the account of the process that talks to the network, whose keys are not for peers; take it out"
        )),
        Ok(Some(_)) => None,
        Err(error) => Some(format!("cannot look up the account {name}: {error}")),
    }
}
