//! Sets values in the node's configuration file as an operator would: the rest of
//! the text stays as it was, and only to something that is valid.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alknet_document::{Document, Fault, Format};
use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

use crate::config::draft::check_config;
use crate::state::lock_dir;
use crate::state::replace_file::replace;

/// A value to set: the names that lead to it from the top of the file, and what it is
/// to be.
pub(crate) struct Setting<'a> {
    pub(crate) path: &'a [&'a str],
    pub(crate) value: Value,
}

/// Sets values. Gives whether that changed the file.
///
/// # Errors
/// When the file cannot be changed, or would not be valid; it stays as it was.
pub(crate) fn set(file: &Path, settings: &[Setting<'_>]) -> Result<bool, SettingsError> {
    let failed = |source| SettingsError::Io {
        file: file.to_owned(),
        source,
    };
    let shape = || SettingsError::Shape {
        file: file.to_owned(),
    };
    let format = Format::of(file).ok_or_else(shape)?;
    // The file itself, where a link leads to it.
    let target = fs::canonicalize(file).map_err(failed)?;
    // Of two changes at once, the second sees the first.
    let _lock = lock_dir(target.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    let before = fs::read_to_string(&target).map_err(failed)?;
    let after = match format {
        Format::Toml => in_toml(&before, settings),
        Format::Json => in_json(&before, settings),
    };
    let after = after.ok_or_else(shape)?;
    if after == before {
        return Ok(false);
    }
    let document = Document::parse(&after, format, file.display().to_string())
        .map_err(|fault| SettingsError::Invalid(vec![fault]))?;
    check_config(&document).map_err(SettingsError::Invalid)?;
    replace(&target, &after).map_err(failed)?;
    Ok(true)
}

fn in_toml(text: &str, settings: &[Setting<'_>]) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    for setting in settings {
        let value = toml_value(&setting.value)?;
        put(document.as_table_mut(), 0, setting.path, value)?;
    }
    Some(document.to_string())
}

/// Below the configuration of a plugin, what is new is written on one line: what
/// follows in the file stays part of the table it was in.
fn put(
    table: &mut dyn TableLike,
    depth: usize,
    path: &[&str],
    value: toml_edit::Value,
) -> Option<()> {
    let (name, rest) = path.split_first()?;
    if rest.is_empty() {
        match table.get_mut(name) {
            Some(Item::Value(present)) => {
                let decor = present.decor().clone();
                *present = value;
                *present.decor_mut() = decor;
            }
            Some(_) => return None,
            None => drop(table.insert(name, Item::Value(value))),
        }
        return Some(());
    }
    if table.get(name).is_none() {
        let fresh = match depth {
            // [plugins], [plugins.config], [plugins.config.ssh]
            0..=2 => {
                let mut fresh = Table::new();
                fresh.set_implicit(rest.len() > 1);
                Item::Table(fresh)
            }
            _ => Item::Value(InlineTable::new().into()),
        };
        table.insert(name, fresh);
    }
    let below = table.get_mut(name)?.as_table_like_mut()?;
    put(below, depth + 1, rest, value)
}

fn toml_value(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => value.as_i64()?.into(),
        Value::String(value) => value.as_str().into(),
        Value::Array(values) => {
            let values = values.iter().map(toml_value);
            values.collect::<Option<Array>>()?.into()
        }
        Value::Null | Value::Object(_) => return None,
    })
}

fn in_json(text: &str, settings: &[Setting<'_>]) -> Option<String> {
    let mut whole: Value = serde_json::from_str(text).ok()?;
    for setting in settings {
        let mut at = &mut whole;
        for name in setting.path {
            let object = at.as_object_mut()?;
            let fresh = || Value::Object(Map::new());
            at = object.entry(*name).or_insert_with(fresh);
        }
        *at = setting.value.clone();
    }
    Some(format!("{whole:#}\n"))
}

/// Why the configuration was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read or written.
    #[error("{}: cannot change the configuration: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is written in a form that this code does not change.
    #[error("{}: the configuration is written in a form that is not changed by commands; edit it by hand", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
    },
    /// The file is not valid, or would not be after the change.
    #[error("the configuration would not be valid")]
    Invalid(Vec<Fault>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> [Setting<'static>; 3] {
        [
            Setting {
                path: &["plugins", "config", "ssh", "certificates", "enabled"],
                value: json!(true),
            },
            Setting {
                path: &["plugins", "config", "ca", "hosts"],
                value: json!(["*.example"]),
            },
            Setting {
                path: &["plugins", "secrets", "ca"],
                value: json!(["ca-key"]),
            },
        ]
    }

    fn set_in(name: &str, text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        assert!(set(&file, &settings()).unwrap());
        assert!(!set(&file, &settings()).unwrap(), "twice the same");
        fs::read_to_string(&file).unwrap()
    }

    #[test]
    fn what_is_set_is_there_and_the_rest_stays() {
        let text = "# mine\n[plugins]\nwatch = false\n\n[plugins.config.ssh]\n# theirs\n";
        let after = set_in("node.toml", text);
        assert!(
            after.contains("# mine") && after.contains("# theirs"),
            "{after}"
        );
        assert!(
            after.contains("certificates = { enabled = true }"),
            "{after}"
        );
        assert!(
            after.contains("[plugins.config.ca]\nhosts = [\"*.example\"]"),
            "{after}"
        );
        assert!(
            after.contains("[plugins.secrets]\nca = [\"ca-key\"]"),
            "{after}"
        );
        let dotted = "[plugins.config.ssh]\ncertificates.enabled = false # off\n";
        let after = set_in("node.toml", dotted);
        assert!(
            after.contains("certificates.enabled = true # off"),
            "{after}"
        );
        let after = set_in("node.json", "{\"log\": {\"filter\": \"info\"}}");
        let value: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(
            value["plugins"]["config"]["ssh"]["certificates"]["enabled"],
            true
        );
        assert_eq!(value["log"]["filter"], "info");
    }

    #[test]
    fn what_would_not_be_valid_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        fs::write(&file, "").unwrap();
        let wrong = Setting {
            path: &["log", "filter"],
            value: json!(7),
        };
        assert!(matches!(
            set(&file, &[wrong]),
            Err(SettingsError::Invalid(_))
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
    }
}
