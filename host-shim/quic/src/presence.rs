//! Whether a peer is there: heard from of late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::FrameStats;
use tokio::time::{Instant, sleep};

/// A peer of which nothing has been heard for so long is away. Twice the
/// interval at which a silent peer is asked for a sign of life.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks before the last sign of life after which everything is thought to
/// have arrived that was written before them.
const UNDER_WAY: usize = 3;

/// A peer that has not been heard for ten seconds or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// The time since the peer was last heard.
    pub time: Duration,
    /// The number of bytes kept for the peer at the most: they were written and
    /// have perhaps not arrived.
    pub kept_bytes: u64,
}

/// The time at which a peer was last heard, and the bytes written to it since.
#[derive(Debug)]
pub struct Presence {
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
pub struct OpenStreams {
    written: AtomicU64,
}

impl OpenStreams {
    /// Takes note of bytes that were written to a stream.
    pub fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            heard: Mutex::new(Heard {
                frames: 0,
                at: Instant::now(),
                written: [0; UNDER_WAY],
            }),
            streams: Arc::default(),
        }
    }
}

impl Presence {
    /// How long the peer has been away; `None` while it is heard. No more than
    /// the send window, in bytes, is kept for it.
    pub fn away(&self, send_window: u32) -> Option<Away> {
        let time = self.silence(Instant::now());
        (time >= AWAY_AFTER).then(|| Away {
            time,
            kept_bytes: self.unheard().min(send_window.into()),
        })
    }

    /// Completes when the peer has been silent for `before_login`, and nobody has
    /// logged in on the connection or nothing is owed to it. `frames` counts what
    /// has come from the peer; see `look`.
    pub async fn overdue(
        &self,
        frames: impl Fn() -> u64,
        is_somebodys: impl Fn() -> bool,
        before_login: Duration,
    ) {
        // Whether the peer was away when its last stream ended.
        let mut ended_without_it = None;
        loop {
            sleep(LOOK).await;
            let now = Instant::now();
            self.look(frames(), now);
            let silence = self.silence(now);
            let has_streams = self.has_streams();
            if has_streams {
                ended_without_it = None;
            } else {
                ended_without_it.get_or_insert(silence >= AWAY_AFTER);
            }
            // The last words of a session are kept for who could not hear them; a peer
            // that was there may have left without a word that arrived.
            let is_owed = ended_without_it == Some(true) && self.unheard() > 0;
            let may_be_away = is_somebodys() && (has_streams || is_owed);
            if !may_be_away && silence >= before_login {
                return;
            }
        }
    }

    /// What a stream of the connection keeps for as long as it is open.
    pub fn stream(&self) -> Arc<OpenStreams> {
        Arc::clone(&self.streams)
    }

    fn has_streams(&self) -> bool {
        Arc::strong_count(&self.streams) > 1
    }

    /// Takes note of the number of frames that have come so far. A datagram that
    /// does not prove to be the peer's has none.
    fn look(&self, frames: u64, now: Instant) {
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
    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard().at)
    }

    /// Bytes that were written and have perhaps not arrived.
    fn unheard(&self) -> u64 {
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
pub(crate) fn frames(received: &FrameStats) -> u64 {
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

    fn after(acks: u64) -> u64 {
        let mut stats = FrameStats::default();
        stats.acks = acks;
        frames(&stats)
    }

    #[test]
    fn a_peer_is_silent_until_it_is_heard() {
        let presence = Presence::default();
        let start = Instant::now();
        presence.look(after(1), start);
        let later = start + AWAY_AFTER;
        presence.look(after(1), later);
        assert_eq!(presence.silence(later), AWAY_AFTER);
        presence.look(after(2), later);
        assert_eq!(presence.silence(later), Duration::ZERO);
    }

    #[test]
    fn what_was_written_long_before_the_silence_has_arrived() {
        let presence = Presence::default();
        let stream = presence.stream();
        assert!(presence.has_streams());
        for acks in 1..=5 {
            stream.wrote(100);
            presence.look(after(acks), Instant::now());
        }
        assert_eq!(presence.unheard(), 200, "that of the last seconds");
        stream.wrote(1000);
        presence.look(after(5), Instant::now());
        assert_eq!(presence.unheard(), 1200);
        drop(stream);
        assert!(!presence.has_streams());
    }
}
