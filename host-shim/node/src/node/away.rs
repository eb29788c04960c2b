//! Peers that have logged in and of which nothing is heard: how long they may
//! be away, and what is kept for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alknet_quic::{Away, Congestion, PeerConnection, TransportSettings};
use tokio::time::sleep;

use crate::config::LimitsConfig;
use crate::metrics::counters;

/// The interval at which a connection is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The peers of a node that are away.
#[derive(Debug)]
pub(crate) struct AwayPeers {
    transport: TransportSettings,
    most_bytes: AtomicU64,
    peers: Mutex<HashMap<usize, Away>>,
}

/// A peer's entry; removed when dropped.
struct Entry<'a> {
    peers: &'a AwayPeers,
    id: usize,
}

impl AwayPeers {
    pub(crate) fn new(limits: &LimitsConfig, congestion: Congestion) -> Self {
        Self {
            transport: TransportSettings {
                idle_timeout: Duration::from_secs(limits.offline_seconds.into()),
                congestion,
                ..TransportSettings::default()
            },
            most_bytes: AtomicU64::new(limits.offline_buffer_bytes),
            peers: Mutex::default(),
        }
    }

    /// The settings of QUIC connections; their idle timeout is the time that a
    /// peer may be away.
    pub(crate) fn transport(&self) -> &TransportSettings {
        &self.transport
    }

    /// Puts other limits in force, as far as they can change.
    pub(crate) fn set(&self, limits: &LimitsConfig) {
        let most = limits.offline_buffer_bytes;
        self.most_bytes.store(most, Ordering::Relaxed);
    }

    /// Counts the peer of a connection while it is away. Closes the connection,
    /// and completes, when all of them have more kept than they may and none
    /// has been away for longer.
    pub(crate) async fn follow(
        &self,
        connection: &dyn PeerConnection,
        remote_addr: Option<SocketAddr>,
    ) {
        let entry = Entry {
            peers: self,
            id: connection.id(),
        };
        loop {
            sleep(LOOK).await;
            let Some(away) = connection.away() else {
                entry.remove();
                continue;
            };
            if self.must_go(entry.id, away) {
                tracing::warn!(
                    remote_addr = remote_addr.map(tracing::field::display),
                    away_seconds = away.time.as_secs(),
                    kept_bytes = away.kept_bytes,
                    "closed the connection of a peer that is away: more is kept for such peers than /limits/offline_buffer_bytes allows"
                );
                connection.close(0, "the node needs the memory that it kept for you");
                return;
            }
        }
    }

    fn must_go(&self, id: usize, away: Away) -> bool {
        let mut peers = self.peers();
        peers.insert(id, away);
        let kept: u64 = peers.values().map(|away| away.kept_bytes).sum();
        let is_longest = || {
            let mut others = peers.values().filter(|other| other.kept_bytes > 0);
            others.all(|other| other.time <= away.time + LOOK)
        };
        let must_go =
            kept > self.most_bytes.load(Ordering::Relaxed) && away.kept_bytes > 0 && is_longest();
        if must_go {
            peers.remove(&id);
        }
        tell(&peers);
        must_go
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<usize, Away>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry<'_> {
    fn remove(&self) {
        let mut peers = self.peers.peers();
        if peers.remove(&self.id).is_some() {
            tell(&peers);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

fn tell(peers: &HashMap<usize, Away>) {
    let kept = peers.values().map(|away| away.kept_bytes).sum();
    counters::away(peers.len() as u64, kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_away_for_the_longest_time_goes_first() {
        let limits = LimitsConfig {
            offline_buffer_bytes: 100,
            ..LimitsConfig::default()
        };
        let peers = AwayPeers::new(&limits, Congestion::default());
        let away = |seconds, kept_bytes| Away {
            time: Duration::from_secs(seconds),
            kept_bytes,
        };
        assert!(!peers.must_go(1, away(100, 0)));
        assert!(!peers.must_go(2, away(60, 60)));
        assert!(!peers.must_go(3, away(20, 40)));
        assert!(
            !peers.must_go(3, away(22, 41)),
            "another has been away longer"
        );
        assert!(peers.must_go(2, away(62, 60)));
        assert!(!peers.must_go(3, away(24, 100)));
        assert!(peers.must_go(3, away(24, 101)));
    }
}
