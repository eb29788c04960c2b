//! A configuration such as ours: nested limits, optional parts, lists, and the forms that schemars gives to enums.

use std::collections::BTreeMap;

use alknet_document::{Document, Fault, Format};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where to listen.
    pub listen: Option<String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub rules: Vec<Rule>,
    #[serde(default)]
    pub keys: Option<Keys>,
    #[serde(default)]
    pub proxies: BTreeMap<String, Proxy>,
    #[serde(default)]
    pub log: Level,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[schemars(range(min = 1))]
    pub max_channels: u16,
    pub max_sessions: Option<u32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub load: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[schemars(length(min = 1))]
    pub target: String,
    pub action: Action,
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub principals: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Allow,
    Deny,
}

/// Each level has its words, which makes schemars write another form.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Little.
    #[default]
    Info,
    /// Much.
    Debug,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "lowercase", deny_unknown_fields)]
pub enum Keys {
    Vault { account: u32 },
    File { path: String },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    #[schemars(regex(pattern = r"^[a-z]+://"))]
    pub url: String,
    #[schemars(length(min = 8))]
    pub password: String,
    #[serde(default)]
    pub via: Via,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    #[default]
    Direct,
    Hop {
        host: String,
    },
}

pub fn schema() -> Value {
    schemars::schema_for!(Node).to_value()
}

/// Every fault of a document, one a line; the schema first, then serde.
pub fn faults(text: &str, format: Format) -> String {
    let name = match format {
        Format::Json => "node.json",
        Format::Toml => "node.toml",
    };
    let document = match Document::parse(text, format, name) {
        Ok(document) => document.hiding(["/proxies/*/password"]),
        Err(fault) => return fault.to_string(),
    };
    match document.validate(&schema()) {
        Err(faults) => lines(&faults),
        Ok(()) => document
            .deserialize::<Node>()
            .map_or_else(|fault| fault.to_string(), |_| String::new()),
    }
}

pub fn lines(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(Fault::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
