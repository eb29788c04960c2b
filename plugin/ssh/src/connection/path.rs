//! What the path from the peer carries, as the receiving end sees it.
//!
//! From a grant until the first byte that the peer could not have sent without
//! it, at least one round trip passes. The bytes that come in the least such
//! time are the bandwidth-delay product. A peer that waits for grants fills its
//! window once in a round trip, so that twice the product is more than it has,
//! and the window grows until the path is what limits it (dynamic right-sizing,
//! Fisk and Feng 2001).

use std::time::{Duration, Instant};

/// The time for which the least round trip counts: routes change.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The least round trip of late. One for all channels of a connection.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    /// The least since then, and the least of the period before.
    current: Option<(Instant, Duration)>,
    previous: Option<Duration>,
}

/// The measurement of what arrives on one channel.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    received: u64,
    probe: Option<Probe>,
    /// When the last measurement ended, and the bytes received until then.
    measured: Option<(Instant, u64)>,
    wanted: u64,
}

#[derive(Debug)]
struct Probe {
    since: Instant,
    /// Bytes the peer could send without the grant.
    limit: u64,
}

impl RoundTrip {
    pub(crate) fn sample(&mut self, took: Duration, now: Instant) {
        match &mut self.current {
            Some((since, least)) if now.duration_since(*since) < REMEMBERED => {
                *least = took.min(*least);
            }
            current => {
                self.previous = current.take().map(|(_, least)| least);
                *current = Some((now, took));
            }
        }
    }

    pub(crate) fn least(&self) -> Option<Duration> {
        let current = self.current.map(|(_, least)| least);
        current.into_iter().chain(self.previous).min()
    }
}

impl Arrivals {
    /// Notes a grant to the peer, which could still send `unused` bytes.
    pub(crate) fn granted(&mut self, unused: u32, now: Instant) {
        let limit = self.received + u64::from(unused);
        self.probe.get_or_insert(Probe { since: now, limit });
    }

    /// Notes that `length` bytes have come.
    pub(crate) fn received(&mut self, length: u32, round_trip: &mut RoundTrip, now: Instant) {
        let (since, before) = *self.measured.get_or_insert((now, self.received));
        self.received += u64::from(length);
        let over = self
            .probe
            .take_if(|probe| self.received > probe.limit)
            .map(|probe| now.duration_since(probe.since));
        let Some(took) = over else {
            return;
        };
        round_trip.sample(took, now);
        let elapsed = now.duration_since(since).as_nanos();
        let least = round_trip.least().unwrap_or(took).as_nanos();
        let bytes = u128::from(self.received - before);
        let product = (bytes * least).checked_div(elapsed).unwrap_or(0);
        let wanted = u64::try_from(product * 9 / 4).unwrap_or(u64::MAX);
        self.wanted = wanted.max(self.wanted - self.wanted / 8);
        self.measured = Some((now, self.received));
    }

    /// A little more than twice the bandwidth-delay product: with twice as much
    /// the peer need not wait, since half of a window is granted at a time. In
    /// bytes; 0 until it was measured.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn a_peer_that_waits_for_grants_wants_twice_its_window() {
        let (mut arrivals, mut round_trip) = (Arrivals::default(), RoundTrip::default());
        let mut now = Instant::now();
        for _ in 0..3 {
            arrivals.received(500, &mut round_trip, now);
            arrivals.granted(500, now);
            arrivals.received(500, &mut round_trip, now);
            now += ROUND_TRIP;
        }
        arrivals.received(1, &mut round_trip, now);
        assert_eq!(round_trip.least(), Some(ROUND_TRIP));
        // What was seen first counts for a while.
        assert!((2000..3000).contains(&arrivals.wanted()), "{arrivals:?}");
    }

    #[test]
    fn a_path_that_became_longer_is_noticed() {
        let mut round_trip = RoundTrip::default();
        let start = Instant::now();
        round_trip.sample(ROUND_TRIP, start);
        for second in 1..30 {
            round_trip.sample(ROUND_TRIP * 4, start + Duration::from_secs(second));
        }
        assert_eq!(round_trip.least(), Some(ROUND_TRIP * 4));
    }
}
