//! A plugin's part of the configuration, checked against the plugin's own JSON
//! Schemas.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alknet_document::{Document, Fault, Format, check_schema, join_pointer};
use alknet_loader::LoadedPlugin;
use serde_json::{Map, Value};

use crate::config::NodeConfig;
use crate::config::problem::MakeHandlerError;
use crate::config::problem::NodeError;
use crate::plugins::PlannedPlugin;
use crate::secrets::Granter;

/// The node's configuration and the secrets that belong to it.
#[derive(Clone, Copy)]
pub(crate) struct ConfigContext<'a> {
    /// The configuration.
    pub(crate) config: &'a NodeConfig,
    /// The configuration's text, and the secrets.
    pub(crate) granter: &'a Granter<'a>,
}

/// Why a plugin and the configuration do not go together.
pub(crate) enum ConfigureError {
    /// The plugin's schema is not a valid JSON Schema.
    Schema(MakeHandlerError),
    /// The configuration does not fit the plugin's schemas.
    Config(Vec<Fault>),
}

impl From<ConfigureError> for Vec<NodeError> {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Schema(refused) => vec![NodeError::Handler(refused)],
            ConfigureError::Config(faults) => faults.into_iter().map(NodeError::Config).collect(),
        }
    }
}

/// Checks a plugin's part of the configuration and the secrets it is granted
/// against the plugin's schemas. The faults keep their place in the node's
/// file.
pub(crate) fn configure(
    context: ConfigContext<'_>,
    file: &Path,
    plugin: Arc<LoadedPlugin>,
) -> Result<PlannedPlugin, ConfigureError> {
    let ConfigContext { config, granter } = context;
    let file: PathBuf = file.to_owned();
    if let Err(reason) = check_schema(plugin.config_schema()) {
        let reason = format!("{reason}; ask the plugin's author");
        let pointer = None;
        return Err(ConfigureError::Schema(MakeHandlerError {
            file,
            reason,
            pointer,
        }));
    }
    let name = plugin.name();
    let own = plugin_config(granter.document, config, name, plugin.config_schema());
    let names = config.plugins.secrets.get(name);
    let names = names.map(Vec::as_slice).unwrap_or_default();
    let capabilities = granter.grant(name, names, plugin.capabilities_schema());
    match (own, capabilities) {
        (Ok(config), Ok(capabilities)) => Ok(PlannedPlugin {
            config,
            capabilities,
            file,
            plugin,
        }),
        (own, capabilities) => {
            let mut faults = own.err().unwrap_or_default();
            faults.extend(capabilities.err().unwrap_or_default());
            Err(ConfigureError::Config(faults))
        }
    }
}

/// A plugin's part of the configuration, valid by that schema.
pub(crate) fn plugin_config(
    document: &Document,
    config: &NodeConfig,
    plugin: &str,
    schema: &Value,
) -> Result<Value, Vec<Fault>> {
    match document.part(&plugin_pointer(plugin)) {
        Some(part) => part.validate(schema)?,
        None => may_be_absent(document, plugin, schema)?,
    }
    let given = config.plugins.config.get(plugin).cloned();
    Ok(Value::Object(given.unwrap_or_else(Map::new)))
}

/// Checks that a plugin can do without its part of the configuration.
fn may_be_absent(document: &Document, plugin: &str, schema: &Value) -> Result<(), Vec<Fault>> {
    let Ok(empty) = Document::parse("{}", Format::Json, "no configuration") else {
        return Ok(());
    };
    empty.validate(schema).map_err(|faults| {
        let needs = |fault: Fault| {
            let pointer = plugin_pointer(plugin);
            let message = format!(
                "the plugin {plugin:?} needs a configuration at {pointer}, which is not there: {}",
                fault.problem
            );
            Fault::at(document, "/plugins", message)
        };
        faults.into_iter().map(needs).collect()
    })
}

/// The JSON pointer to a plugin's part of the configuration.
pub(crate) fn plugin_pointer(plugin: &str) -> String {
    join_pointer("/plugins/config", plugin)
}
