//! JSON Schemas in the state directory, for editors that complete and check
//! configuration files as they are written. The first lines of the files that
//! `init` makes point at them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alknet_identity::PeersConfig;
use serde_json::{Map, Value};

use crate::config;
use crate::startup::plan::Plan;
use crate::state::StateDir;
use crate::state::replace_file;

/// The schema of the node's configuration, its plugins' parts included.
pub(crate) const NODE: &str = "node.schema.json";
/// The schema of the peers file.
pub(crate) const PEERS: &str = "peers.schema.json";

/// Writes the schemas that go with this program and the plugins of a plan,
/// where they are not there yet.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_schemas(state: &StateDir, plan: &Plan) -> Result<(), SchemaFileError> {
    let plugins = plan.plugins.iter();
    let node = with_plugins(
        config::schema(),
        plugins.map(|planned| (planned.plugin.name(), planned.plugin.config_schema())),
    );
    let peers = schemars::schema_for!(PeersConfig).to_value();
    for (name, schema) in [(NODE, node), (PEERS, peers)] {
        let path = state.root().join(name);
        write(&path, &format!("{schema:#}\n"))
            .map_err(|source| SchemaFileError { path, source })?;
    }
    Ok(())
}

/// A schema for editors could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}, from which editors learn what may be configured: {source}", path.display())]
pub(crate) struct SchemaFileError {
    path: PathBuf,
    source: io::Error,
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    replace_file::put(path, 0o644, text.as_bytes())
}

/// The node's schema, with those of plugins in the place where their
/// configuration stands.
fn with_plugins<'a>(mut node: Value, plugins: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut properties = Map::new();
    for (name, schema) in plugins {
        let definition = format!("plugin-{name}");
        let mut schema = schema.clone();
        let place = format!("#/$defs/{definition}");
        move_references(&mut schema, &place);
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        if let Some(definitions) = node.get_mut("$defs").and_then(Value::as_object_mut) {
            definitions.insert(definition, schema);
        }
        properties.insert(
            name.to_owned(),
            Map::from_iter([("$ref".to_owned(), place.into())]).into(),
        );
    }
    if let Some(config) = node
        .pointer_mut("/$defs/PluginsConfig/properties/config")
        .and_then(Value::as_object_mut)
    {
        config.insert("properties".to_owned(), properties.into());
    }
    node
}

/// Adjusts the references within a schema that becomes part of another.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" && target.starts_with('#') => {
                        *target = format!("{place}{}", target.trim_start_matches('#'));
                    }
                    member => move_references(member, place),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| move_references(item, place)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use alknet_document::{Document, Format, check_schema};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugins_part_is_checked_by_its_own_schema() {
        let plugin = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": { "Limits": { "type": "object", "properties": { "most": { "type": "integer" } } } },
            "type": "object",
            "properties": { "limits": { "$ref": "#/$defs/Limits" } },
            "additionalProperties": false
        });
        let schema = with_plugins(config::schema(), [("a-b", &plugin)].into_iter());
        check_schema(&schema).unwrap();
        let faults = |text: &str| {
            let document = Document::parse(text, Format::Toml, "x").unwrap();
            let faults = document.validate(&schema).err().unwrap_or_default();
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            faults("plugins.config.a-b.limits.most = 1\nplugins.config.other.x = 1"),
            [""; 0]
        );
        let wrong = faults("plugins.config.a-b.limits.most = 'x'\nplugins.config.a-b.limit = 1");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(
            wrong[0].contains("/plugins/config/a-b/limits/most: expected an integer"),
            "{wrong:?}"
        );
        assert!(wrong[1].contains("unknown field \"limit\""), "{wrong:?}");
    }
}
