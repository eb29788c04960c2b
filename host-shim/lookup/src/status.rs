//! How a look-up is doing.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How a look-up is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LookupStatus {
    /// The program.
    pub command: String,
    /// What the program does.
    pub state: ProgramState,
    /// Its process, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How many times it was started again.
    pub restarts: u64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds since which no question was answered; absent while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage_seconds: Option<u64>,
    /// Whether that has lasted so long that new log-ins are refused.
    pub refuses_log_ins: bool,
    /// Questions that the program was asked.
    pub asked: u64,
    /// Those that it answered with an identity.
    pub found: u64,
    /// Those that it answered with nobody.
    pub unknown: u64,
    /// Those that it did not answer.
    pub failed: u64,
    /// Those whose answer was not an identity that may be let in.
    pub invalid: u64,
    /// Questions answered from what is remembered.
    pub remembered: u64,
    /// Those of them answered so because the program did not.
    pub stale: u64,
    /// Identities that are remembered.
    pub cached_identities: usize,
    /// Unknown ones that are remembered.
    pub cached_unknown: usize,
}

/// What a program does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramState {
    /// It runs.
    Running,
    /// It ended, or could not be started, and is started again after a while.
    Waiting,
    /// It was not started yet, or the node stops.
    #[default]
    Stopped,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) asked: AtomicU64,
    pub(crate) found: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) invalid: AtomicU64,
    pub(crate) remembered: AtomicU64,
    pub(crate) stale: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
