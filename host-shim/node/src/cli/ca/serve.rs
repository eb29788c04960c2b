//! `ca serve`: has the node sign for its peers, by the plugin `ca`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use alknet_handler::Secret;
use clap::Args;
use serde_json::json;

use super::context::{OpenAuthority, set_config};
use super::lifetime::lifetime;
use crate::cli::reload::put_in_force;
use crate::cli::setup::init::beside_the_program;
use crate::cli::{Failed, StateArg, fail, fail_all, running_mode, swap};
use crate::config::settings::Setting;
use crate::state::replace_file;
use alknet_session::Mode;

/// The library of the plugin, as cargo names it.
const PLUGIN_FILE: &str = "libalknet_ca_plugin.so";
/// The secret that the plugin is granted: the authority's private key.
const SECRET: &str = "ca-key";

#[derive(Args)]
pub(in crate::cli) struct ServeArgs {
    /// The longest lifetime that is signed
    #[arg(long, value_name = "TIME", default_value = "16h", value_parser = lifetime)]
    max_lifetime: Duration,
    #[command(flatten)]
    state: StateArg,
}

/// Has the node sign for its peers.
pub(super) fn serve(args: ServeArgs) -> Result<(), Failed> {
    let ca = OpenAuthority::open(args.state)?;
    install(&ca)?;
    let key = ca
        .draft
        .certificate_authority()
        .map_err(|problems| fail_all(&problems))?;
    let secrets = ca.draft.secrets_file();
    let sealed_by = ca
        .draft
        .secrets_key()
        .map_err(|problems| fail_all(&problems))?;
    let secret = Secret::new(key.private().as_bytes().to_vec());
    secrets.set(&sealed_by, SECRET, &secret).map_err(fail)?;
    let ours = |name| ["plugins", "config", "ca", name];
    set_config(
        &ca.state,
        &[
            Setting {
                path: &ours("records"),
                value: json!(ca.directory),
            },
            Setting {
                path: &ours("hosts"),
                value: json!(ca.about.hosts),
            },
            Setting {
                path: &ours("max_lifetime_seconds"),
                value: json!(args.max_lifetime.as_secs()),
            },
            Setting {
                path: &["plugins", "secrets", "ca"],
                value: json!([SECRET]),
            },
        ],
    )?;
    let done = format!("this node signs for its peers as {}", ca.about.name);
    match running_mode(&ca.state) {
        // Its monitor reads secrets, and does so once.
        Some(Mode::Accounts) => {
            say!("{done} after its next start");
            Ok(())
        }
        Some(Mode::Owner) => {
            put_in_force(&ca.state, &done, None)?;
            swap::reload_all(&ca.state)
        }
        None => put_in_force(&ca.state, &done, None),
    }
}

/// Puts the plugin where the node finds it, unless it is there.
fn install(ca: &OpenAuthority) -> Result<(), Failed> {
    let place = ca.draft.plugins_dir().join(PLUGIN_FILE);
    if place.exists() {
        return Ok(());
    }
    let source = beside_the_program(PLUGIN_FILE).or_else(packaged);
    let source = source.ok_or_else(|| {
        fail(format_args!(
            "{PLUGIN_FILE} is neither in {} nor beside this program; build it (cargo build -p alknet-ca-plugin) and copy it there",
            ca.draft.plugins_dir().display()
        ))
    })?;
    let bytes =
        fs::read(&source).map_err(|error| fail(format_args!("{}: {error}", source.display())))?;
    replace_file::put(&place, 0o644, &bytes)
        .map_err(|error| fail(format_args!("{}: {error}", place.display())))?;
    say!(
        "copied the plugin {} to {}",
        source.display(),
        place.display()
    );
    Ok(())
}

/// The library of an installed program: `/usr/lib/alknet/ca` for
/// `/usr/bin/alknet-node`.
fn packaged() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let library = program
        .parent()?
        .parent()?
        .join("lib/alknet/ca")
        .join(PLUGIN_FILE);
    library.is_file().then_some(library)
}
