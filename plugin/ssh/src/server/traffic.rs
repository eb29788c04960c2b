//! The bytes that have gone through a channel, and the time of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::flight::Flight;

/// The bytes that have gone through a channel, and the time of the last one.
#[derive(Debug)]
pub(super) struct Traffic {
    opened: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    /// The time of the last byte, in milliseconds after the opening.
    last: AtomicU64,
    /// What is on its way to the peer.
    flight: Arc<Flight>,
}

impl Traffic {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self {
            flight,
            opened: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// Counts bytes that came from the peer.
    pub(super) fn received(&self, bytes: usize) {
        self.add(&self.received, bytes);
    }

    /// Completes when so many bytes more may be on their way to the peer.
    pub(super) async fn room(&self, bytes: usize) {
        self.flight.room(bytes).await;
    }

    /// Counts bytes that went to the peer.
    pub(super) fn sent(&self, bytes: usize) {
        self.add(&self.sent, bytes);
    }

    pub(super) fn bytes_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Completes when nothing has passed for as many seconds as are configured at the
    /// moment; 0 is for ever.
    pub(super) async fn idle(&self, configured: impl Fn() -> u32) {
        loop {
            let seconds = configured();
            if seconds == 0 {
                return std::future::pending().await;
            }
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let until = self.opened + last + Duration::from_secs(seconds.into());
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn add(&self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}
