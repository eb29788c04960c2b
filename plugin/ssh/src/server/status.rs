//! The counters that `status` shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::metrics::Metrics;

/// The counters of a handler; shown by `status`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) sessions: Arc<AtomicU64>,
    pub(crate) channels: Arc<AtomicU64>,
    pub(crate) children: Arc<AtomicU64>,
    pub(crate) forwards: Arc<AtomicU64>,
    pub(crate) listeners: Arc<AtomicU64>,
    pub(crate) sessions_total: AtomicU64,
    pub(crate) auth_accepted: AtomicU64,
    pub(crate) auth_refused: AtomicU64,
    pub(crate) auth_errors: AtomicU64,
    pub(crate) login_timeouts: AtomicU64,
    pub(crate) commands_started: AtomicU64,
    pub(crate) forwards_total: AtomicU64,
    pub(crate) forwards_failed: AtomicU64,
    pub(crate) stalled: AtomicU64,
    pub(crate) requests_denied: AtomicU64,
    pub(crate) metrics: Arc<Metrics>,
}

/// Counts one of something for as long as it lives.
#[derive(Debug)]
pub(crate) struct Live(Arc<AtomicU64>);

impl Counters {
    /// The counters as a JSON object.
    pub(crate) fn to_json(&self, draining: bool) -> serde_json::Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "draining": draining,
            "connections": read(&self.connections),
            "sessions": read(&self.sessions),
            "channels": read(&self.channels),
            "children": read(&self.children),
            "forwards": read(&self.forwards),
            "listeners": read(&self.listeners),
            "sessions_total": read(&self.sessions_total),
            "commands_total": read(&self.commands_started),
            "forwards_total": read(&self.forwards_total),
            "forwards_failed_total": read(&self.forwards_failed),
            "stalled_total": read(&self.stalled),
            "denied_total": read(&self.requests_denied),
            "auth": {
                "accepted": read(&self.auth_accepted),
                "refused": read(&self.auth_refused),
                "errors": read(&self.auth_errors),
                "timeouts": read(&self.login_timeouts),
            },
            "metrics": self.metrics.to_json(),
        })
    }
}

impl Live {
    pub(crate) fn new(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Adds one to a running total.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
