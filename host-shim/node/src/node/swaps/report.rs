//! The outcome of a swap for each file or plugin, as commands print it and the
//! log records it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use alknet_loader::{Generation, shown};
use serde::{Deserialize, Serialize};

use crate::any_path;
use crate::config::problem::FaultReport;
use crate::config::problem::NodeError;

/// What became of one file, or one plugin, when plugins were reloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swapped {
    /// The plugin's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plugin: Option<String>,
    /// The file.
    #[serde(with = "any_path")]
    pub(crate) file: PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What became of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// What the file holds serves already.
    Unchanged {
        /// The generation that serves.
        generation: u64,
    },
    /// The plugin serves from the file: new connections go to it from now on.
    Serves {
        /// The generation that serves now.
        #[serde(flatten)]
        now: GenerationId,
        /// The generation that served before.
        replaced: Option<GenerationId>,
        /// What an operator should look at.
        warnings: Vec<String>,
    },
    /// The plugin was unloaded: new connections no longer go to it.
    Unloaded {
        /// The generation that served before.
        #[serde(flatten)]
        before: GenerationId,
    },
    /// The file is what was rolled back from, or unloaded, so it is loaded
    /// only when asked for.
    Held,
    /// The file is gone; the plugin serves on.
    FileGone {
        /// The generation that serves.
        generation: u64,
    },
    /// The file cannot serve; the generation before goes on.
    Refused {
        /// The faults of the file.
        faults: Vec<FaultReport>,
        /// The generation that goes on serving.
        serving: Option<GenerationId>,
    },
}

/// What identifies a generation to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationId {
    /// The generation's id.
    pub(crate) generation: u64,
    /// The plugin's version.
    pub(crate) version: String,
    /// The digest of the library.
    pub(crate) digest: String,
}

impl From<&Generation> for GenerationId {
    fn from(generation: &Generation) -> Self {
        Self {
            generation: generation.id,
            version: generation.version.to_string(),
            digest: generation.digest.to_string(),
        }
    }
}

/// A file that was refused, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The file.
    pub(crate) file: PathBuf,
    /// The time at which it was refused.
    pub(crate) at: SystemTime,
    /// The reasons, one line each.
    pub(crate) reasons: Vec<String>,
}

impl Swapped {
    pub(super) fn refused(
        plugin: Option<&str>,
        file: &Path,
        problems: &[NodeError],
        serving: Option<&Generation>,
    ) -> Self {
        Self {
            plugin: plugin.map(str::to_owned),
            file: file.to_owned(),
            outcome: Outcome::Refused {
                faults: problems.iter().map(FaultReport::from).collect(),
                serving: serving.map(GenerationId::from),
            },
        }
    }

    /// Logs the outcome.
    pub(super) fn log(&self) {
        let plugin = self.plugin.as_deref();
        let file = shown(&self.file);
        match &self.outcome {
            Outcome::Unchanged { generation } => {
                tracing::debug!(plugin, %file, generation, "plugin unchanged");
            }
            Outcome::Serves {
                now,
                replaced,
                warnings,
            } => {
                let replaced = replaced.as_ref();
                tracing::info!(
                    plugin,
                    version = now.version,
                    generation = now.generation,
                    digest = now.digest,
                    %file,
                    replaced_generation = replaced.map(|replaced| replaced.generation),
                    replaced_version = replaced.map(|replaced| replaced.version.as_str()),
                    "plugin serves"
                );
                warnings
                    .iter()
                    .for_each(|warning| tracing::warn!("{warning}"));
            }
            Outcome::Unloaded { before } => {
                tracing::info!(plugin, generation = before.generation, "plugin unloaded");
            }
            Outcome::Held => tracing::info!(
                plugin,
                %file,
                "left alone: it is what was rolled back from or unloaded; `alknet-node plugins reload` loads it"
            ),
            Outcome::FileGone { generation } => tracing::warn!(
                plugin,
                generation,
                "{file}: the file is gone; the plugin serves on until it is unloaded or the node ends"
            ),
            Outcome::Refused { faults, serving } => {
                for fault in faults {
                    tracing::error!(plugin, "{}", fault.message);
                }
                if let Some(serving) = serving {
                    tracing::warn!(
                        plugin,
                        version = serving.version,
                        generation = serving.generation,
                        "nothing was swapped; the version that serves goes on"
                    );
                }
            }
        }
    }

    /// Whether something was asked for that was not done.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Refused { .. })
    }
}
