//! What the node and the process of a trial say to each other: JSON, an object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::any_path;
use crate::config::PluginsConfig;

/// Waits on the standard input of a process that is to try a library out.
pub(super) const MAGIC: &[u8] = b"alknet trial, version 1\n";
/// The longest report, in bytes.
pub(super) const MAX_REPORT: u64 = 256 * 1024;

/// What the handler of a trial is made with, by plugin: which plugin it is shows only when the library is open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    configs: BTreeMap<String, Map<String, Value>>,
    /// The names of the secrets granted; the values are made up.
    secrets: BTreeMap<String, Vec<String>>,
}

impl Settings {
    /// The configuration of a plugin; empty if it has none.
    pub(super) fn config(&self, plugin: &str) -> Value {
        Value::Object(self.configs.get(plugin).cloned().unwrap_or_default())
    }

    /// The names of the secrets that a plugin is granted.
    pub(super) fn secrets(&self, plugin: &str) -> &[String] {
        self.secrets.get(plugin).map_or(&[], Vec::as_slice)
    }
}

impl From<&PluginsConfig> for Settings {
    fn from(config: &PluginsConfig) -> Self {
        Self {
            configs: config.config.clone(),
            secrets: config.secrets.clone(),
        }
    }
}

/// The library to try out, with its settings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// The private copy to open.
    #[serde(with = "any_path")]
    pub(super) copy: PathBuf,
    /// The file it was made of, for messages.
    #[serde(with = "any_path")]
    pub(super) source: PathBuf,
    pub(super) settings: Settings,
}

/// A message of the process of a trial.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The token that came last; empty before the first.
    pub(super) token: String,
    pub(super) said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The process goes on with this step once it has a new token, which is the
    /// answer.
    Begins(Step),
    /// The library cannot be used, and why.
    Refused(String),
    /// The library went through all steps.
    Passed(Description),
}

/// A step of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// The library is opened, which runs its constructors, and asked what it is.
    Load,
    /// Its factory makes a handler.
    Factory,
    /// The handler is given a connection, and dropped.
    Handler,
    /// The process ends.
    End,
}

/// What a plugin says of itself, each a line that can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) interface: u32,
    pub(crate) rustc: String,
    pub(crate) target: String,
    pub(crate) alpns: Vec<String>,
}
