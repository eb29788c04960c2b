//! Settings for the worker threads that run the handler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;
use crate::range::within;

/// The threads that run the handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Number of worker threads, 1 to 64. Default 1. A change needs a restart
    /// of the handler.
    #[schemars(range(min = 1, max = 64))]
    pub worker_threads: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { worker_threads: 1 }
    }
}

impl Runtime {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        within("/runtime/worker_threads", self.worker_threads, 1..=64)
    }
}
