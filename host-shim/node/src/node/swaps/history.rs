//! What the node remembers of earlier swaps: previous versions, versions left,
//! refused files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use alknet_loader::{Digest, Generation, LoadedPlugin};
use serde_json::Value;

use super::report::{Outcome, Refused, Swapped};
use crate::config::problem::Warning;

/// The memory of earlier swaps, kept between reloads.
#[derive(Default)]
pub(super) struct SwapHistory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// The version of each plugin before its last swap.
    previous: BTreeMap<String, Previous>,
    /// The version of each plugin that was rolled back from, or unloaded.
    left: BTreeMap<String, Digest>,
    /// Files that were refused last time.
    refused: BTreeMap<PathBuf, Refused>,
}

/// A version that served before, and what to make it serve again with.
#[derive(Clone)]
pub(super) struct Previous {
    pub(super) library: Arc<LoadedPlugin>,
    pub(super) file: PathBuf,
    pub(super) config: Arc<Value>,
}

impl SwapHistory {
    /// The history of a node that has just started: the files that were
    /// refused.
    pub(super) fn of_start(warnings: &[Warning]) -> Self {
        let refused = warnings.iter().filter_map(refused_at_start);
        let refused = refused.map(|refused| (refused.file.clone(), refused));
        Self(Mutex::new(Remembered {
            refused: refused.collect(),
            ..Remembered::default()
        }))
    }

    /// The files that were refused last time.
    pub(super) fn refused(&self) -> Vec<Refused> {
        self.with(|memory| memory.refused.values().cloned().collect())
    }

    /// Remembers whether a file was refused.
    pub(super) fn file(&self, outcome: &Swapped) {
        self.with(|memory| match &outcome.outcome {
            Outcome::Refused { faults, .. } => {
                let refused = Refused {
                    file: outcome.file.clone(),
                    at: SystemTime::now(),
                    reasons: faults.iter().map(|fault| fault.message.clone()).collect(),
                };
                memory.refused.insert(outcome.file.clone(), refused);
            }
            _ => {
                memory.refused.remove(&outcome.file);
            }
        });
    }

    /// Forgets all files but these.
    pub(super) fn only_files(&self, files: &BTreeSet<&Path>) {
        self.with(|memory| memory.refused.retain(|file, _| files.contains(&**file)));
    }

    /// Remembers a generation that was replaced.
    pub(super) fn replaced(&self, before: &Generation) {
        let previous = Previous {
            library: Arc::clone(&before.library),
            file: before.file.clone(),
            config: before.config(),
        };
        self.with(|memory| memory.previous.insert(before.plugin.clone(), previous));
    }

    /// The version before the last swap of a plugin; of the only one that was
    /// swapped, if none is named.
    ///
    /// # Errors
    /// The reason for which no such version is known.
    pub(super) fn previous(&self, name: Option<&str>) -> Result<Previous, String> {
        self.with(|memory| {
            let mut known = memory.previous.values();
            let found = match name {
                Some(name) => memory.previous.get(name),
                None => known.next().filter(|_| known.next().is_none()),
            };
            found.cloned().ok_or_else(|| {
                let swapped: Vec<&str> = memory.previous.keys().map(String::as_str).collect();
                match (name, swapped.is_empty()) {
                    (Some(name), _) => format!(
                        "the plugin {name:?} has no version to go back to: it was not swapped since the node started"
                    ),
                    (None, true) => {
                        "there is no version to go back to: no plugin was swapped since the node started".to_owned()
                    }
                    (None, false) => format!("name the plugin to roll back: {}", swapped.join(", ")),
                }
            })
        })
    }

    /// Remembers a version that was left and shall come back only when asked
    /// for.
    pub(super) fn left(&self, plugin: &str, digest: Digest) {
        self.with(|memory| memory.left.insert(plugin.to_owned(), digest));
    }

    /// Whether a version was rolled back from, or unloaded.
    pub(super) fn was_left(&self, plugin: &str, digest: Digest) -> bool {
        self.with(|memory| memory.left.get(plugin) == Some(&digest))
    }

    /// Forgets which version of a plugin was left: it serves again from its
    /// file.
    pub(super) fn came_back(&self, plugin: &str) {
        self.with(|memory| memory.left.remove(plugin));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refused_at_start(warning: &Warning) -> Option<Refused> {
    let file = match warning {
        Warning::Plugin(refusal) => refusal.path().to_owned(),
        Warning::Handler(refused) => refused.file.clone(),
        Warning::SamePlugin { second, .. } | Warning::SameAlpn { second, .. } => second.clone(),
        _ => return None,
    };
    Some(Refused {
        file,
        at: SystemTime::now(),
        reasons: vec![warning.to_string()],
    })
}
