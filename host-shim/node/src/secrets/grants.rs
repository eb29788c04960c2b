//! The secrets that the configuration grants to each plugin, checked against
//! the plugin's schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use alknet_document::{Document, Fault, Format, Problem, check_schema, join_pointer};
use alknet_handler::{Capabilities, Secret};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{SecretsError, SecretsFile};

/// The secrets of a node, and the key to them.
pub(crate) struct Granter<'a> {
    /// The node's configuration, for the place of a fault.
    pub(crate) document: &'a Document,
    /// The place that the secrets are read from.
    pub(crate) source: SecretSource,
}

/// The place that secrets are read from.
pub(crate) enum SecretSource {
    /// The node's file.
    File {
        file: SecretsFile,
        /// The key to the secrets; without one, which is a fault elsewhere,
        /// only names are checked.
        key: Option<Zeroizing<[u8; 32]>>,
    },
    /// Memory: the monitor handed the secrets over.
    Memory(Arc<BTreeMap<String, Secret>>),
}

impl Granter<'_> {
    /// The secrets that the configuration grants to a plugin. Each must be
    /// stored and allowed by the plugin's capabilities schema.
    pub(crate) fn grant(
        &self,
        plugin: &str,
        names: &[String],
        schema: &Value,
    ) -> Result<Capabilities, Vec<Fault>> {
        let mut faults = self.unwanted(plugin, names, schema);
        let mut granted = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.secret(name) {
                Ok(Some(secret)) => granted.push((name.clone(), secret)),
                Ok(None) => {}
                Err(error) => {
                    let message = match error {
                        SecretsError::Unknown { .. } => format!(
                            "the secret {name:?} is not stored; store it with `alknet-node secret set {name}`"
                        ),
                        error => error.to_string(),
                    };
                    faults.push(Fault::at(self.document, &item(plugin, index), message));
                }
            }
        }
        if faults.is_empty() {
            Ok(granted.into_iter().collect())
        } else {
            Err(faults)
        }
    }

    fn secret(&self, name: &str) -> Result<Option<Secret>, SecretsError> {
        match &self.source {
            SecretSource::File {
                file,
                key: Some(key),
            } => file.get(key, name).map(Some),
            SecretSource::File { file, key: None } => file.expect(name).map(|()| None),
            SecretSource::Memory(secrets) => match secrets.get(name) {
                Some(secret) => Ok(Some(secret.clone())),
                None => Err(SecretsError::NotHandedOver {
                    name: name.to_owned(),
                }),
            },
        }
    }

    /// The faults that the plugin's schema finds in these names. The values are
    /// left out, so that no message can show one.
    fn unwanted(&self, plugin: &str, names: &[String], schema: &Value) -> Vec<Fault> {
        let list = list(plugin);
        if let Err(reason) = check_schema(schema) {
            let message = format!("the plugin {plugin:?}, of its capabilities: {reason}");
            return vec![Fault::at(self.document, &list, message)];
        }
        let stand_in: Map<String, Value> =
            names.iter().map(|name| (name.clone(), "".into())).collect();
        let stand_in = Value::Object(stand_in).to_string();
        let Ok(stand_in) = Document::parse(&stand_in, Format::Json, "the secrets") else {
            return Vec::new();
        };
        let Err(faults) = stand_in.validate(schema) else {
            return Vec::new();
        };
        let about = |fault: &Fault| {
            let index = names
                .iter()
                .position(|name| *fault.pointer == *join_pointer("", name));
            match (&fault.problem, index) {
                // About a value, which is not the right one here.
                (Problem::Unexpected { .. }, Some(_)) => None,
                (Problem::MissingField { name, .. }, _) => Some((
                    list.clone(),
                    format!("the plugin {plugin:?} needs the secret {name:?}; grant it here"),
                )),
                (_, Some(index)) => {
                    let name = names.get(index).map_or("", String::as_str);
                    let mut message = format!("the plugin {plugin:?} takes no secret {name:?}");
                    if let Some(expected) = fault.expected() {
                        message.push_str(&format!("; it takes {expected}"));
                    }
                    Some((item(plugin, index), message))
                }
                (problem, None) => Some((
                    list.clone(),
                    format!("the plugin {plugin:?} does not take these secrets: {problem}"),
                )),
            }
        };
        faults
            .iter()
            .filter_map(about)
            .map(|(pointer, message)| Fault::at(self.document, &pointer, message))
            .collect()
    }
}

fn list(plugin: &str) -> String {
    join_pointer("/plugins/secrets", plugin)
}

fn item(plugin: &str, index: usize) -> String {
    format!("{}/{index}", list(plugin))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn grant(stored: &[&str], granted: &[&str], schema: Value) -> Result<Capabilities, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = SecretsFile::new(dir.path().join("secrets.json"));
        for name in stored {
            file.set(&KEY, name, &Secret::new(b"hidden".to_vec()))
                .unwrap();
        }
        let names: Vec<String> = granted.iter().map(|&name| name.to_owned()).collect();
        let text = format!("[plugins.secrets]\nodd = {granted:?}\n");
        let document = Document::parse(&text, Format::Toml, "node.toml").unwrap();
        let granter = Granter {
            document: &document,
            source: SecretSource::File {
                file,
                key: Some(Zeroizing::new(KEY)),
            },
        };
        granter.grant("odd", &names, &schema).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn what_is_granted_and_stored_is_given() {
        let given = grant(&["a", "b", "c"], &["a", "c"], json!({})).unwrap();
        assert_eq!(given.names().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(given.get("a").unwrap().expose(), b"hidden");
        // What the schema says of values is not asked of stand-ins.
        let schema = json!({"additionalProperties": {"type": "string", "minLength": 3}});
        assert!(grant(&["a"], &["a"], schema).is_ok());
    }

    #[test]
    fn what_is_not_stored_is_named_with_place_and_remedy() {
        let said = grant(&["a"], &["a", "b"], json!({})).unwrap_err();
        assert_eq!(
            said,
            "node.toml:2:13: /plugins/secrets/odd/1: the secret \"b\" is not stored; store it with `alknet-node secret set b`"
        );
    }

    #[test]
    fn what_the_plugin_does_not_take_or_misses_is_named() {
        let schema = json!({
            "properties": {"token": {"type": "string"}},
            "required": ["token"], "additionalProperties": false
        });
        let said = grant(&["a", "token"], &["token", "a"], schema.clone()).unwrap_err();
        assert!(said.contains("/plugins/secrets/odd/1"), "{said}");
        assert!(said.contains("takes no secret \"a\""), "{said}");
        assert!(!said.contains("hidden"), "{said}");
        let said = grant(&[], &[], schema).unwrap_err();
        assert!(said.contains("needs the secret \"token\""), "{said}");
        let names = json!({"propertyNames": {"pattern": "^x"}});
        let said = grant(&["a"], &["a"], names).unwrap_err();
        assert!(said.contains("takes no secret \"a\""), "{said}");
    }
}
