//! `alknet-node schema`: prints the JSON Schema of a configuration, of the
//! peers file or of a plugin's settings.

use std::path::PathBuf;
use std::sync::Arc;

use alknet_identity::PeersConfig;
use alknet_loader::{LoadedPlugin, Trust, discover, shown};
use clap::Args;

use super::{Failed, StateArg, dir, existing_config, fail, fail_all, print_json};
use crate::config;
use crate::config::draft::Draft;
use crate::config::problem::NodeError;
use crate::config::trust::configured_trust;
use crate::plugins::{Libraries, Settings};

#[derive(Args)]
pub(super) struct SchemaArgs {
    /// `node`, `peers`, `capabilities`, or a plugin's name, such as `ssh`
    #[arg(default_value = "node")]
    what: String,
    #[command(flatten)]
    state: StateArg,
    /// Take the plugin from this file instead of the state directory's plugins
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    file: Option<PathBuf>,
    /// The plugin whose capabilities are meant
    #[arg(long, value_name = "NAME", default_value = "ssh")]
    plugin: String,
}

/// Prints a JSON Schema. Those of a plugin come out of its file.
pub(super) fn schema(args: SchemaArgs) -> Result<(), Failed> {
    let schema = match args.what.as_str() {
        "node" => config::schema(),
        "peers" => schemars::schema_for!(PeersConfig).to_value(),
        "capabilities" => {
            let plugin = args.plugin.clone();
            of_plugin(args, &plugin)?.capabilities_schema().clone()
        }
        _ => {
            let plugin = args.what.clone();
            of_plugin(args, &plugin)?.config_schema().clone()
        }
    };
    print_json(&schema)
}

fn of_plugin(args: SchemaArgs, name: &str) -> Result<Arc<LoadedPlugin>, Failed> {
    let scratch = std::env::temp_dir().join(format!("alknet-schema-{}", std::process::id()));
    let libraries = Libraries::open(&scratch).map_err(fail)?;
    let found = match args.file {
        Some(file) => libraries
            .load(&file, &Trust::default(), &Settings::default())
            .map_err(fail),
        None => in_state_dir(args.state, name, &libraries),
    };
    // Nothing is loaded after this, so the private copies may go.
    let _ = std::fs::remove_dir_all(&scratch);
    let found = found?;
    if found.name() == name {
        return Ok(found);
    }
    Err(fail(format_args!(
        "{} holds the plugin {:?}, not {name:?}",
        shown(found.source()),
        found.name()
    )))
}

fn in_state_dir(
    state: StateArg,
    name: &str,
    libraries: &Libraries,
) -> Result<Arc<LoadedPlugin>, Failed> {
    let file = existing_config(&dir(state)?)?;
    let draft = Draft::read(&file).map_err(|problems| fail_all(&problems))?;
    let trust = configured_trust(draft.document(), &draft.config)
        .map_err(|fault| fail_all(&[NodeError::Config(fault)]))?;
    let candidates = discover(&draft.plugins_dir()).map_err(fail)?;
    let mut names = Vec::new();
    for candidate in &candidates {
        match libraries.load(candidate.path(), &trust, &Settings::default()) {
            Ok(found) if found.name() == name => return Ok(found),
            Ok(found) => names.push(found.name().to_owned()),
            Err(refusal) => complain!("alknet-node: {refusal}"),
        }
    }
    Err(fail(format_args!(
        "there is no schema {name:?}: there are node, peers, capabilities and those of the plugins{}",
        match names.is_empty() {
            true => ", of which there are none".to_owned(),
            false => format!(" {}", names.join(", ")),
        }
    )))
}
