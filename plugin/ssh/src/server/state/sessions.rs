//! The live SSH connections, for who wants to see or end one of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_control::SessionInfo;

use super::end::SessionEndReason;

/// A connection as the lists of its handler know it.
pub(crate) trait LiveSession: Send + Sync {
    /// Its number among those of the handler.
    fn id(&self) -> u64;

    fn remote_addr(&self) -> Option<SocketAddr>;

    /// The id of the peer's identity; empty before it has logged in.
    fn identity(&self) -> String;

    /// The time at which it was opened.
    fn since(&self) -> SystemTime;

    /// The time since which nothing has been heard of the peer; `None` for one
    /// that is there.
    fn away_since(&self) -> Option<SystemTime>;

    /// The number of its open channels.
    fn channels(&self) -> usize;

    /// The number of its listeners.
    fn listeners(&self) -> usize;

    /// Asks it to end; the peer is told the reason.
    fn end(&self, end: SessionEndReason);
}

/// The connections by number.
#[derive(Default)]
pub(crate) struct Sessions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: u64,
    live: BTreeMap<u64, Weak<dyn LiveSession>>,
}

/// A connection's entry; removed when dropped.
pub(crate) struct Entry {
    sessions: Arc<Mutex<State>>,
    id: u64,
}

impl Sessions {
    /// A number no other connection has.
    pub(crate) fn next_id(&self) -> u64 {
        let mut state = lock(&self.0);
        state.last += 1;
        state.last
    }

    /// Lists a connection for as long as the entry lives.
    pub(crate) fn enter(&self, session: &Arc<dyn LiveSession>) -> Entry {
        let id = session.id();
        let mut state = lock(&self.0);
        state.live.insert(id, Arc::downgrade(session));
        Entry {
            sessions: Arc::clone(&self.0),
            id,
        }
    }

    pub(crate) fn list(&self) -> Vec<SessionInfo> {
        let live: Vec<_> = lock(&self.0)
            .live
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        live.iter().map(|session| info(session.as_ref())).collect()
    }

    /// Asks a connection to end; the peer is told why. Returns whether there is
    /// such a connection.
    pub(crate) fn close(&self, id: u64) -> bool {
        let session = lock(&self.0).live.get(&id).and_then(Weak::upgrade);
        session.is_some_and(|session| {
            session.end(SessionEndReason::Closed);
            true
        })
    }
}

/// What is told about a connection.
fn info(session: &dyn LiveSession) -> SessionInfo {
    let unix_ms = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    };
    SessionInfo {
        id: session.id(),
        remote_addr: session.remote_addr().map(|address| address.to_string()),
        identity: Some(session.identity()).filter(|identity| !identity.is_empty()),
        since_unix_ms: unix_ms(session.since()),
        away_since_unix_ms: session.away_since().and_then(unix_ms),
        channels: Some(session.channels() as u64),
        forwards: None,
        listeners: Some(session.listeners() as u64),
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.sessions).live.remove(&self.id);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
