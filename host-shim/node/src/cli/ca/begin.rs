//! `ca init` and `ca show`: makes a node a certificate authority, and says which.

use clap::Args;
use serde_json::json;

use super::context::{ENABLED, OpenAuthority, REVOKED_KEYS, set_config};
use super::trust::add_authority;
use crate::cli::reload::put_in_force;
use crate::cli::{Failed, StateArg, fail};
use crate::config::settings::Setting;

#[derive(Args)]
pub(in crate::cli) struct InitArgs {
    /// The authority's name in peers files [default: ca, or as it is]
    #[arg(long)]
    name: Option<String>,
    /// The hosts that it is to sign for, as patterns of known_hosts: clients
    /// believe it about these alone
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', num_args = 1..)]
    hosts: Vec<String>,
    #[command(flatten)]
    state: StateArg,
}

/// Makes the node a certificate authority. Once more, it changes name and hosts.
pub(super) fn init(args: InitArgs) -> Result<(), Failed> {
    if let Some(odd) = args.hosts.iter().find(|host| {
        host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control())
    }) {
        return Err(fail(format_args!("{odd:?} is not a pattern of hosts")));
    }
    let ca = OpenAuthority::make(args.state, |about| {
        if let Some(name) = args.name {
            about.name = name;
        }
        if !args.hosts.is_empty() {
            about.hosts = args.hosts;
        }
    })?;
    ca.records.revoke(&ca.authority, |_| {}).map_err(fail)?;
    add_authority(&ca.draft, &ca.about.name, &ca.public_line())?;
    let list = ca.records.list_file();
    let configured = ca.draft.config.plugins.config.get("ssh");
    let present = configured
        .and_then(|ssh| ssh.get("certificates")?.get("revoked_keys"))
        .and_then(|path| path.as_str());
    let mut settings = vec![Setting {
        path: ENABLED,
        value: json!(true),
    }];
    match present {
        Some(other) if *other != *list => say!(
            "{} has revoked_keys = {other:?} already: what this authority revokes counts on this node once that is {}",
            ca.state.config_file().display(),
            list.display()
        ),
        _ => settings.push(Setting {
            path: REVOKED_KEYS,
            value: json!(list),
        }),
    }
    set_config(&ca.state, &settings)?;
    put_in_force(
        &ca.state,
        &format!("this node is the authority {}", ca.about.name),
        None,
    )?;
    say_keys(&ca);
    say!("let a peer in by certificates: alknet-node ca accept PEER");
    Ok(())
}

/// Prints the authority's public key, and the line for clients.
pub(super) fn show(state: StateArg) -> Result<(), Failed> {
    say_keys(&OpenAuthority::open(state)?);
    Ok(())
}

fn say_keys(ca: &OpenAuthority) {
    say!("authority    {}", ca.public_line());
    match ca.known_hosts_line() {
        Some(line) => say!("known_hosts  {line}"),
        None => say!(
            "known_hosts  nothing yet: `alknet-node ca init --hosts '*.example.org'` says whose host certificates clients believe"
        ),
    }
}
