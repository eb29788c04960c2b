//! The connections of a handler: counted, listed, closed and drained.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use alknet_control::SessionInfo;
use alknet_handler::AuthContext;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The connections of a handler.
#[derive(Default)]
pub(crate) struct Connections {
    tracker: TaskTracker,
    live: Mutex<BTreeMap<u64, Entry>>,
    opened: AtomicU64,
    /// Cancelled when all connections are to end.
    ending: CancellationToken,
}

struct Entry {
    identity: Option<String>,
    remote_addr: Option<String>,
    since: SystemTime,
    ending: CancellationToken,
}

impl Connections {
    /// Counts a connection until the returned value is dropped. `None` once no
    /// more are served.
    pub(crate) fn open(self: &Arc<Self>, auth: &AuthContext) -> Option<LiveConnection> {
        // Taken first: a drain that begins meanwhile then waits for this one too.
        let tracked = self.tracker.token();
        if self.is_draining() {
            return None;
        }
        let id = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry {
            identity: auth.identity.as_ref().map(|identity| identity.id.clone()),
            remote_addr: auth.remote_addr.map(|addr| addr.to_string()),
            since: SystemTime::now(),
            ending: self.ending.child_token(),
        };
        let ending = entry.ending.clone();
        self.live().insert(id, entry);
        Some(LiveConnection {
            id,
            of: Arc::clone(self),
            ending,
            _tracked: tracked,
        })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.tracker.is_closed()
    }

    /// The number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.live().len()
    }

    /// The number of connections since the handler was made.
    pub(crate) fn total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Accepts no more, waits for the open ones, and ends those that are left
    /// after the deadline.
    pub(crate) async fn drain(&self, deadline: Duration) {
        self.tracker.close();
        if timeout(deadline, self.tracker.wait()).await.is_err() {
            self.ending.cancel();
            self.tracker.wait().await;
        }
    }

    /// Ends the connection with this number. Returns whether there is one.
    pub(crate) fn end(&self, id: u64) -> bool {
        let live = self.live();
        let found = live.get(&id);
        found.inspect(|entry| entry.ending.cancel()).is_some()
    }

    /// The connections as the control request `sessions` lists them.
    pub(crate) fn list(&self) -> Vec<SessionInfo> {
        let live = self.live();
        let listed = live.iter().map(|(id, entry)| {
            let since = entry.since.duration_since(SystemTime::UNIX_EPOCH);
            let since = since.map_or(0, |since| since.as_millis());
            SessionInfo {
                id: *id,
                identity: entry.identity.clone(),
                remote_addr: entry.remote_addr.clone(),
                since_unix_ms: u64::try_from(since).ok(),
                ..SessionInfo::default()
            }
        });
        listed.collect()
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry among the connections, removed when dropped.
pub(crate) struct LiveConnection {
    id: u64,
    of: Arc<Connections>,
    ending: CancellationToken,
    _tracked: tokio_util::task::task_tracker::TaskTrackerToken,
}

impl LiveConnection {
    /// Runs the future until it ends, or the connection is to end: then `None`.
    pub(crate) async fn run<T>(&self, served: impl Future<Output = T>) -> Option<T> {
        self.ending.run_until_cancelled(served).await
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.of.live().remove(&self.id);
    }
}
