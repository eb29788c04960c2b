//! `peers list|show|add|grant|revoke|remove|disable|enable|import`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use alknet_identity::{Conditions, Peer};
use alknet_openssh::{AuthorizedKey, read_public_key_file};
use clap::Subcommand;
use serde::Serialize;

use super::complete;
use super::import::{ImportArgs, import};
use super::reload::put_in_force;
use super::table::{Cell, Look, both_ways, since, table};
use super::{Failed, StateArg, dir, existing_config, fail, fail_all, print_json};
use crate::admin::{Request, Status, ask};
use crate::config::NodeConfig;
use crate::config::draft::Draft;
use crate::config::peers_file::{Change, PeersFileError, change};
use crate::config::problem::NodeError;
use crate::metrics::traffic::Traffic;
use crate::state::StateDir;
use crate::state::last_logins;
use crate::walls::{UNCONFINED, has_accounts};

#[derive(Subcommand)]
pub(super) enum PeersCommand {
    /// List those who may connect.
    List {
        #[command(flatten)]
        state: StateArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let somebody in.
    Add {
        /// The peer's name in logs and rules
        id: String,
        /// Public key files, as in ~/.ssh/id_ed25519.pub
        #[arg(required = true, value_name = "KEY.pub")]
        keys: Vec<PathBuf>,
        /// What the peer may do, such as ssh:exec or ssh:forward:db:5432;
        /// nothing else is granted
        #[arg(long = "scope", value_name = "SCOPE", add = complete::scopes())]
        scopes: Vec<String>,
        #[command(flatten)]
        state: StateArg,
    },
    /// Say all about one peer.
    Show {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        #[command(flatten)]
        state: StateArg,
    },
    /// Let a peer do more.
    Grant {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        /// What it may do from now on, such as ssh:shell
        #[arg(required = true, value_name = "SCOPE", add = complete::scopes())]
        scopes: Vec<String>,
        #[command(flatten)]
        state: StateArg,
    },
    /// Let a peer do less. What it is doing with that ends.
    Revoke {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        /// What it may not do from now on, as `peers show` has it
        #[arg(required = true, value_name = "SCOPE", add = complete::scopes_of_peer())]
        scopes: Vec<String>,
        #[command(flatten)]
        state: StateArg,
    },
    /// Make peers of an sshd's authorized_keys file, one for each line, with
    /// what its options allow. All of it or nothing.
    Import(ImportArgs),
    /// Take somebody out. Live sessions end.
    Remove {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        #[command(flatten)]
        state: StateArg,
    },
    /// Keep the entry, but let the peer in no more. Live sessions end.
    Disable {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        #[command(flatten)]
        state: StateArg,
    },
    /// Let a disabled peer in again.
    Enable {
        /// The peer
        #[arg(add = complete::peers())]
        id: String,
        #[command(flatten)]
        state: StateArg,
    },
}

/// Says who may connect, or changes that.
pub(super) fn peers(command: PeersCommand) -> Result<(), Failed> {
    match command {
        PeersCommand::List { state, json } => list(state, json),
        PeersCommand::Add {
            id,
            keys,
            scopes,
            state,
        } => {
            let mut lines = Vec::new();
            for file in &keys {
                let keys = read_public_key_file(file).map_err(fail)?;
                lines.extend(keys.into_iter().map(|key| key.line));
            }
            let nothing = scopes.is_empty();
            let peer = Peer {
                id,
                keys: lines,
                scopes,
                ..Peer::default()
            };
            apply(state, &Change::Add(&peer), &format!("added {}", peer.id))?;
            if nothing {
                say!(
                    "{} may log in and do nothing more; grant something with --scope, such as --scope ssh:exec",
                    peer.id
                );
            }
            Ok(())
        }
        PeersCommand::Show { id, state } => show(state, &id),
        PeersCommand::Grant { id, scopes, state } => {
            let done = format!("granted {} to {id}", scopes.join(", "));
            apply(state, &Change::Grant(&id, &scopes), &done)
        }
        PeersCommand::Revoke { id, scopes, state } => {
            let done = format!("took {} from {id}", scopes.join(", "));
            apply(state, &Change::Revoke(&id, &scopes), &done)
        }
        PeersCommand::Import(args) => import(args),
        PeersCommand::Remove { id, state } => {
            apply(state, &Change::Remove(&id), &format!("removed {id}"))
        }
        PeersCommand::Disable { id, state } => apply(
            state,
            &Change::Disable(&id, true),
            &format!("disabled {id}"),
        ),
        PeersCommand::Enable { id, state } => apply(
            state,
            &Change::Disable(&id, false),
            &format!("enabled {id}"),
        ),
    }
}

pub(super) fn draft(state: &StateDir) -> Result<Draft, Failed> {
    Draft::read(&existing_config(state)?).map_err(|problems| fail_all(&problems))
}

fn list(state: StateArg, json: bool) -> Result<(), Failed> {
    let state = dir(state)?;
    let draft = draft(&state)?;
    let config = draft.read_peers().map_err(|problems| fail_all(&problems))?;
    let logins = last_logins::read(&state);
    let traffic = ask::<Status>(&state, &Request::Status {}).map(|status| status.peers);
    let traffic = traffic.unwrap_or_default();
    if json {
        let listed = config.peers.iter().map(|peer| Listed {
            peer,
            state: standing(peer).0,
            last_login_unix: logins.get(&peer.id).copied(),
            traffic: traffic.get(&peer.id).copied(),
        });
        return print_json(&listed.collect::<Vec<_>>());
    }
    if config.peers.is_empty() {
        say!("nobody may connect; let somebody in with `alknet-node peers add`");
        return Ok(());
    }
    let has_accounts = has_accounts(&draft.config, &config);
    let rows = config.peers.iter().map(|peer| {
        let (word, look) = standing(peer);
        let prints = peer.keys.iter().filter_map(|line| {
            let key: AuthorizedKey = line.parse().ok()?;
            Some(key.fingerprint)
        });
        let certificates = peer
            .certificates
            .iter()
            .map(|grant| format!("{}:{}", grant.authority, grant.principals.join(",")));
        let keys = prints.chain(peer.node_keys.iter().cloned());
        let keys: Vec<String> = keys.chain(certificates).collect();
        [
            Cell::from(&peer.id),
            Cell::looking(word, look),
            Cell::from(last_login(&logins, &peer.id)),
            Cell::from(both_ways(traffic.get(&peer.id).copied())),
            Cell::from(processes(peer, &draft.config, has_accounts)),
            Cell::from(keys.join(" ")),
            Cell::from(peer.scopes.join(" ")),
            Cell::from(conditions(peer).join("; ")),
        ]
    });
    say!(
        "{}",
        table(
            [
                "PEER",
                "STATE",
                "LAST LOG-IN",
                "TRAFFIC",
                "PROCESSES",
                "KEYS",
                "SCOPES",
                "CONDITIONS"
            ],
            rows.collect()
        )
    );
    Ok(())
}

/// A peer as `peers list --json` has it.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    peer: &'a Peer,
    /// `enabled`, `disabled` or `expired`.
    state: &'static str,
    /// Seconds since 1970; null: never, as far as is remembered.
    last_login_unix: Option<u64>,
    /// Bytes since the node that runs has started; null: none, or none runs.
    traffic: Option<Traffic>,
}

/// The time of a peer's last log-in, for people.
fn last_login(logins: &BTreeMap<String, u64>, id: &str) -> String {
    match logins.get(id) {
        Some(time) => format!("{} ago", since(time.saturating_mul(1000))),
        None => "never".to_owned(),
    }
}

/// Whether the peer is let in at all.
fn standing(peer: &Peer) -> (&'static str, Look) {
    let read = Conditions::read(&peer.resources);
    let expires = read.ok().and_then(|conditions| conditions.expires);
    match expires {
        _ if peer.disabled => ("disabled", Look::Bad),
        Some(expires) if SystemTime::now() >= expires => ("expired", Look::Bad),
        _ => ("enabled", Look::Good),
    }
}

/// The conditions on a peer's log-ins and sessions, a sentence each.
fn conditions(peer: &Peer) -> Vec<String> {
    let resource = |(kind, values): (&String, &Vec<String>)| {
        let values = values.join(", ");
        match kind.as_str() {
            "ssh:from" => format!("from {values}"),
            "ssh:expires" => format!("until {values}"),
            "ssh:command" => format!("runs `{values}`"),
            "ssh:environment" => format!("with {values}"),
            "ssh:no-pty" => "no terminal".to_owned(),
            kind => format!("{kind} {values}"),
        }
    };
    peer.resources.iter().map(resource).collect()
}

fn show(state: StateArg, id: &str) -> Result<(), Failed> {
    let state = dir(state)?;
    let draft = draft(&state)?;
    let config = draft.read_peers().map_err(|problems| fail_all(&problems))?;
    let Some(peer) = config.peers.iter().find(|peer| peer.id == id) else {
        return Err(fail(format_args!(
            "there is no peer {id:?}; `alknet-node peers list` names them"
        )));
    };
    say!("{id}: {}", standing(peer).0);
    say!(
        "  last log-in  {}",
        last_login(&last_logins::read(&state), id)
    );
    if let Ok(status) = ask::<Status>(&state, &Request::Status {}) {
        let traffic = both_ways(status.peers.get(id).copied());
        say!("  traffic      {traffic}, since the node started");
    }
    for line in &peer.keys {
        let key = line.parse::<AuthorizedKey>();
        let print = key.map_or_else(|_| line.clone(), |key| key.fingerprint);
        say!("  key          {print}");
    }
    for key in &peer.node_keys {
        say!("  node key     {key}");
    }
    for grant in &peer.certificates {
        let principals = grant.principals.join(", ");
        say!("  certificate  of {} for {principals}", grant.authority);
    }
    let has_accounts = has_accounts(&draft.config, &config);
    say!(
        "  processes    {}",
        processes(peer, &draft.config, has_accounts)
    );
    for scope in &peer.scopes {
        say!("  may          {scope}");
    }
    if peer.scopes.is_empty() {
        say!("  may          nothing; `alknet-node peers grant {id} SCOPE` changes that");
    }
    for condition in conditions(peer) {
        say!("  only         {condition}");
    }
    Ok(())
}

/// Whose rights a peer's processes have: the node's own account, or the
/// accounts that it may ask for.
fn processes(peer: &Peer, config: &NodeConfig, has_accounts: bool) -> String {
    if !has_accounts {
        let unconfined = peer.scopes.iter().any(|scope| scope == UNCONFINED);
        return if unconfined { "unconfined" } else { "guest" }.to_owned();
    }
    let default = config.accounts.iter();
    let default = default.filter_map(|accounts| accounts.default_account.as_ref());
    let mut names: Vec<&str> = peer.accounts.iter().map(String::as_str).collect();
    names.extend(default.map(String::as_str));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    match (names.is_empty(), peer.files.is_empty()) {
        (true, _) => "none: no account".to_owned(),
        (false, true) => format!("as {}", names.join(",")),
        (false, false) => format!("as {}, confined", names.join(",")),
    }
}

/// Changes the peers file and has the node that runs, if one does, read it.
pub(super) fn apply(state: StateArg, made: &Change<'_>, done: &str) -> Result<(), Failed> {
    let state = dir(state)?;
    let file = draft(&state)?.peers_file();
    change(&file, made).map_err(|error| not_changed(&file, error))?;
    put_in_force(&state, done, Some(&file))
}

pub(super) fn not_changed(file: &Path, error: PeersFileError) -> Failed {
    match error {
        PeersFileError::Invalid(faults) => {
            let problems: Vec<_> = faults.into_iter().map(NodeError::Config).collect();
            fail_all(&problems);
            fail(format_args!("{} stays as it was", file.display()))
        }
        error => fail(error),
    }
}
