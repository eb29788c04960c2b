//! Whether a peer is there: heard from of late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::FrameStats;
use tokio::time::Instant;

/// A peer of which nothing has been heard for so long is away. Twice the
/// interval at which a silent peer is asked for a sign of life.
pub(crate) const AWAY_AFTER: Duration = Duration::from_secs(10);

/// How often a connection is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Looks before the last sign of life after which everything is thought to
/// have arrived that was written before them.
const UNDER_WAY: usize = 3;

/// The time at which a peer was last heard, and the bytes written to it since.
#[derive(Debug)]
pub(crate) struct Presence {
    heard: Mutex<Heard>,
    streams: Arc<OpenStreams>,
}

#[derive(Debug)]
struct Heard {
    frames: u64,
    at: Instant,
    /// Bytes written in all at the last looks at which something was heard,
    /// newest first.
    written: [u64; UNDER_WAY],
}

/// Counts the streams that are open, by its owners, and what is written to
/// them.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams {
    written: AtomicU64,
}

impl OpenStreams {
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Presence {
    pub(crate) fn new() -> Self {
        Self {
            heard: Mutex::new(Heard {
                frames: 0,
                at: Instant::now(),
                written: [0; UNDER_WAY],
            }),
            streams: Arc::default(),
        }
    }

    /// What a stream of the connection keeps for as long as it is open.
    pub(crate) fn stream(&self) -> Arc<OpenStreams> {
        Arc::clone(&self.streams)
    }

    pub(crate) fn has_streams(&self) -> bool {
        Arc::strong_count(&self.streams) > 1
    }

    /// Takes note of what has come since the last look. A datagram that does
    /// not prove to be the peer's has no frames.
    pub(crate) fn look(&self, received: &FrameStats, now: Instant) {
        let frames = frames(received);
        let written = self.streams.written.load(Ordering::Relaxed);
        let mut heard = self.heard();
        if frames != heard.frames {
            heard.frames = frames;
            heard.at = now;
            heard.written.rotate_right(1);
            if let Some(newest) = heard.written.first_mut() {
                *newest = written;
            }
        }
    }

    /// The time since anything was heard from the peer.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard().at)
    }

    /// Bytes that were written and have perhaps not arrived.
    pub(crate) fn unheard(&self) -> u64 {
        let written = self.streams.written.load(Ordering::Relaxed);
        let arrived = self.heard().written.last().copied().unwrap_or(0);
        written.saturating_sub(arrived)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of frames received of the kinds that a packet of a living peer
/// holds.
fn frames(received: &FrameStats) -> u64 {
    received.acks
        + received.ping
        + received.stream
        + received.max_data
        + received.max_stream_data
        + received.path_challenge
        + received.path_response
        + received.crypto
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(acks: u64) -> FrameStats {
        let mut stats = FrameStats::default();
        stats.acks = acks;
        stats
    }

    #[test]
    fn a_peer_is_silent_until_it_is_heard() {
        let presence = Presence::new();
        let start = Instant::now();
        presence.look(&after(1), start);
        let later = start + AWAY_AFTER;
        presence.look(&after(1), later);
        assert_eq!(presence.silence(later), AWAY_AFTER);
        presence.look(&after(2), later);
        assert_eq!(presence.silence(later), Duration::ZERO);
    }

    #[test]
    fn what_was_written_long_before_the_silence_has_arrived() {
        let presence = Presence::new();
        let stream = presence.stream();
        assert!(presence.has_streams());
        for acks in 1..=5 {
            stream.wrote(100);
            presence.look(&after(acks), Instant::now());
        }
        assert_eq!(presence.unheard(), 200, "that of the last seconds");
        stream.wrote(1000);
        presence.look(&after(5), Instant::now());
        assert_eq!(presence.unheard(), 1200);
        drop(stream);
        assert!(!presence.has_streams());
    }
}
