//! The live SSH connections, for who wants to see or end one of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::end::End;
use crate::server::session::context::Shared;

/// The connections by number.
#[derive(Default)]
pub(crate) struct Sessions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: u64,
    live: BTreeMap<u64, Weak<Shared>>,
}

/// A connection's entry; removed when dropped.
pub(crate) struct Entry {
    sessions: Arc<Mutex<State>>,
    id: u64,
}

/// What is told about a connection.
#[derive(Serialize)]
pub(crate) struct Summary {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<String>,
    /// Absent until somebody has logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    since_unix_ms: u128,
    /// Absent unless the peer is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    away_since_unix_ms: Option<u128>,
    channels: usize,
    listeners: usize,
}

impl Sessions {
    /// A number no other connection has.
    pub(crate) fn next_id(&self) -> u64 {
        let mut state = lock(&self.0);
        state.last += 1;
        state.last
    }

    /// Lists a connection for as long as the entry lives.
    pub(crate) fn enter(&self, id: u64, shared: &Arc<Shared>) -> Entry {
        let mut state = lock(&self.0);
        state.live.insert(id, Arc::downgrade(shared));
        Entry {
            sessions: Arc::clone(&self.0),
            id,
        }
    }

    pub(crate) fn list(&self) -> Vec<Summary> {
        let live: Vec<(u64, Arc<Shared>)> = lock(&self.0)
            .live
            .iter()
            .filter_map(|(id, shared)| Some((*id, shared.upgrade()?)))
            .collect();
        live.iter()
            .map(|(id, shared)| Summary::of(*id, shared))
            .collect()
    }

    /// Asks a connection to end; the peer is told why. Whether there is one.
    pub(crate) fn close(&self, id: u64) -> bool {
        let shared = lock(&self.0).live.get(&id).and_then(Weak::upgrade);
        shared.is_some_and(|shared| {
            shared.end(End::Closed);
            true
        })
    }
}

impl Summary {
    fn of(id: u64, shared: &Shared) -> Self {
        let unix_ms = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis())
        };
        Self {
            id,
            remote_addr: shared.origin.peer.map(|address| address.to_string()),
            identity: shared.access.holder().map(|holder| holder.identity.id),
            since_unix_ms: unix_ms(shared.since),
            away_since_unix_ms: shared.away_since().map(unix_ms),
            channels: shared.channels.len(),
            listeners: shared.listeners.len(),
        }
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
