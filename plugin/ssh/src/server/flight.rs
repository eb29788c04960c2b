//! How much of a channel's output is on its way to the peer.
//!
//! A peer offers a window of megabytes, and a server that is faster than its
//! client fills it: everything else of the connection then waits behind it.
//! What is on its way here follows the path instead. From the time a byte is
//! handed on until the peer has granted it back, a round trip passes, and
//! longer if there is a queue; the limit grows while that takes little more
//! than the least there was, and shrinks else (as TCP Vegas does, Brakmo and
//! Peterson 1995). ADR 57.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use russh::ChannelId;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::connection::path::RoundTrip;

/// The limit until the peer first grants something back, and never less.
const FIRST: u64 = 256 << 10;
const LEAST: u64 = 192 << 10;
const MOST: u64 = 16 << 20;
/// How long a byte may wait in queues beside a quarter of a round trip.
const QUEUED: Duration = Duration::from_millis(1);
/// On a path that is longer, a round trip is felt more than a queue here, and the
/// rate depends on what is on its way: the peer's window is the limit there.
const SHORT_PATH: Duration = Duration::from_millis(10);
/// Beside two round trips, how long the peer is waited for. If it grants
/// nothing back in that time, it decides how much is on its way.
const NO_GRANT: Duration = Duration::from_millis(5);
/// It is never waited for longer than this.
const LONGEST: Duration = Duration::from_secs(1);

/// Those of all channels of an SSH connection.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<ChannelId, Weak<Flight>>>);

impl Flights {
    /// One for a channel that begins. A peer that grants half a window at a
    /// time is left to decide: less than that would wait for nothing.
    pub(super) fn enter(&self, id: ChannelId, grants_coarsely: bool) -> Arc<Flight> {
        let flight = Arc::new(Flight::new());
        if grants_coarsely {
            flight.lock().is_bounded = false;
        }
        let mut flights = self.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        flights.insert(id, Arc::downgrade(&flight));
        flight
    }

    /// The peer has granted a channel more; its window is now so large.
    pub(super) fn granted(&self, id: ChannelId, window: u32) {
        let flight = self.lock().get(&id).and_then(Weak::upgrade);
        if let Some(flight) = flight {
            flight.granted(window);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Weak<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output of one channel that is on its way.
#[derive(Debug)]
pub(super) struct Flight {
    state: Mutex<State>,
    granted: Notify,
}

#[derive(Debug)]
struct State {
    is_bounded: bool,
    /// The most the peer has granted: its window while nothing is on its way.
    largest: u64,
    /// Whether its window is taken for the next power of two, as most are.
    is_rounded: bool,
    /// What its window was at the last grant, if there was one.
    window: Option<u64>,
    /// Bytes handed on since the last grant, and in all.
    since: u64,
    handed: u64,
    limit: u64,
    /// How much the peer grants at once: nothing is heard of less.
    step: u64,
    /// No queue has been seen yet.
    is_starting: bool,
    /// Something had to wait since the last measurement.
    was_held: bool,
    /// The peer has granted nothing in time.
    is_released: bool,
    /// The byte whose way is measured, and when it was handed on.
    probe: Option<(u64, Instant)>,
    round_trip: RoundTrip,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
            granted: Notify::new(),
        }
    }

    /// Completes when so many bytes more may be on their way, and counts them.
    pub(super) async fn room(&self, length: usize) {
        let length = length as u64;
        loop {
            let granted = self.granted.notified();
            tokio::pin!(granted);
            granted.as_mut().enable();
            let limit = {
                let mut state = self.lock();
                if state.has_room(length) {
                    return state.hand_on(length, Instant::now());
                }
                state.was_held = true;
                let grant = NO_GRANT + 2 * state.round_trip.least().unwrap_or_default();
                grant.min(LONGEST)
            };
            tokio::select! {
                () = granted => {}
                () = sleep(limit) => self.lock().release(),
            }
        }
    }

    fn granted(&self, window: u32) {
        self.lock().granted(window.into(), Instant::now());
        self.granted.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        Self {
            is_bounded: true,
            largest: 0,
            is_rounded: true,
            window: None,
            since: 0,
            handed: 0,
            limit: FIRST,
            step: 0,
            is_starting: true,
            was_held: false,
            is_released: false,
            probe: None,
            round_trip: RoundTrip::default(),
        }
    }

    fn has_room(&self, length: u64) -> bool {
        // Two steps, so that the peer has one to consume while one is granted.
        let limit = self.limit.max(LEAST).max(2 * self.step);
        let in_flight = self.in_flight();
        let is_bounded = self.is_bounded && !self.is_released;
        !is_bounded || in_flight == 0 || in_flight + length <= limit
    }

    fn in_flight(&self) -> u64 {
        let Some(window) = self.window else {
            return self.handed;
        };
        let whole = if self.is_rounded {
            self.largest.next_power_of_two()
        } else {
            self.largest
        };
        whole.saturating_sub(window) + self.since
    }

    fn hand_on(&mut self, length: u64, now: Instant) {
        self.handed += length;
        self.since += length;
        self.probe.get_or_insert((self.handed, now));
    }

    fn release(&mut self) {
        self.is_released = true;
        // It may have been taken for more than it is.
        self.is_rounded = false;
    }

    fn granted(&mut self, window: u64, now: Instant) {
        if let Some(before) = self.window {
            let amount = (window + self.since).saturating_sub(before);
            self.step = amount.max(self.step - self.step / 8);
        }
        self.largest = self.largest.max(window);
        self.window = Some(window);
        self.since = 0;
        self.is_released = false;
        let arrived = self.handed.saturating_sub(self.in_flight());
        if let Some((_, since)) = self.probe.take_if(|(byte, _)| arrived >= *byte) {
            self.measured(now.duration_since(since), now);
        }
    }

    /// A byte took so long there and back.
    fn measured(&mut self, took: Duration, now: Instant) {
        // The first byte's time is no shorter than the round trip. Later ones can seem to
        // be, where the peer was not waited for and its whole window is not known.
        if self.round_trip.least().is_none() && took > SHORT_PATH {
            self.is_bounded = false;
        }
        self.round_trip.sample(took, now);
        let least = self.round_trip.least().unwrap_or(took);
        let tolerated = least + least / 4 + QUEUED;
        if took > tolerated {
            let part = tolerated.as_secs_f64() / took.as_secs_f64();
            self.limit = scaled(self.limit, part.max(0.5)).max(LEAST);
            self.is_starting = false;
        } else if self.was_held && self.is_starting {
            self.limit = (self.limit * 2).min(MOST);
        } else if self.was_held {
            self.limit = (self.limit + self.limit / 8).min(MOST);
        }
        self.was_held = false;
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn scaled(bytes: u64, part: f64) -> u64 {
    (bytes as f64 * part) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const CHUNK: u64 = 64 << 10;
    const WINDOW: u64 = 2 << 20;
    const TICK: Duration = Duration::from_micros(100);

    /// A peer at the other end of a path, which takes so much in a tick and
    /// grants it back once it is `step`.
    struct Path {
        state: State,
        now: Instant,
        /// Ticks one way.
        ticks: usize,
        rate: u64,
        step: u64,
        /// What the peer offers, as we know it.
        window: u64,
        queue: u64,
        consumed: u64,
        total: u64,
        /// What is on its way in each tick.
        there: VecDeque<u64>,
        back: VecDeque<u64>,
        blocked: Duration,
    }

    impl Path {
        fn new(round_trip: Duration, bytes_per_second: u64, step: u64) -> Self {
            let ticks = (round_trip.as_micros() / TICK.as_micros() / 2).max(1);
            let ticks = usize::try_from(ticks).unwrap();
            Self {
                state: State::new(),
                now: Instant::now(),
                ticks,
                rate: bytes_per_second / 10_000,
                step,
                window: WINDOW,
                queue: 0,
                consumed: 0,
                total: 0,
                there: VecDeque::from(vec![0; ticks]),
                back: VecDeque::from(vec![0; ticks]),
                blocked: Duration::ZERO,
            }
        }

        fn tick(&mut self) {
            self.now += TICK;
            let granted = self.back.pop_front().unwrap();
            if granted > 0 {
                self.window += granted;
                self.state.granted(self.window, self.now);
                self.blocked = Duration::ZERO;
            }
            let mut sent = 0;
            while self.window >= CHUNK && self.state.has_room(CHUNK) {
                self.state.hand_on(CHUNK, self.now);
                self.window -= CHUNK;
                sent += CHUNK;
            }
            if self.window >= CHUNK {
                self.state.was_held = true;
                self.blocked += TICK;
                let least = self.state.round_trip.least().unwrap_or_default();
                if self.blocked >= NO_GRANT + 2 * least {
                    self.state.release();
                }
            }
            // The queue is at the narrowest place.
            self.queue += sent;
            let passes = self.queue.min(self.rate);
            self.queue -= passes;
            self.there.push_back(passes);
            self.consumed += self.there.pop_front().unwrap();
            let grants = if self.consumed >= self.step {
                std::mem::take(&mut self.consumed)
            } else {
                0
            };
            self.total += grants;
            self.back.push_back(grants);
            assert_eq!(self.back.len(), self.ticks);
        }

        /// The rate in percent of what is possible, and the most that waited.
        fn run(&mut self, time: Duration) -> (u64, u64) {
            let before = self.total;
            let ticks = u64::try_from(time.as_micros() / TICK.as_micros()).unwrap();
            let mut most = 0;
            for _ in 0..ticks {
                self.tick();
                most = most.max(self.queue);
            }
            ((self.total - before) * 100 / (self.rate * ticks), most)
        }
    }

    #[test]
    fn a_short_path_is_filled_and_little_waits_for_it() {
        const MIB: u64 = 1 << 20;
        for (micros, rate) in [(200, 150 * MIB), (200, 450 * MIB), (2000, 110 * MIB)] {
            let mut path = Path::new(Duration::from_micros(micros), rate, 96 << 10);
            path.run(Duration::from_secs(1));
            let (percent, most) = path.run(Duration::from_secs(5));
            assert!(percent >= 95, "{micros} us, {rate}: {percent} %");
            assert!(most <= 1 << 20, "{micros} us, {rate}: {most}");
        }
    }

    #[test]
    fn a_long_path_is_filled_as_far_as_the_window_goes() {
        for millis in [20, 50, 200] {
            let round_trip = Duration::from_millis(millis);
            let mut path = Path::new(round_trip, 12_500_000, 96 << 10);
            path.run(20 * round_trip);
            let (percent, _) = path.run(Duration::from_secs(5));
            let possible = (WINDOW * 1000 / millis * 100 / 12_500_000).min(100);
            assert!(percent + 8 >= possible, "{millis}: {percent} of {possible}");
        }
    }

    #[test]
    fn a_long_path_is_left_to_the_peer_for_good() {
        let mut path = Path::new(Duration::from_millis(50), 125_000_000, 96 << 10);
        path.run(Duration::from_secs(1));
        assert!(!path.state.is_bounded);
        let mut path = Path::new(Duration::from_millis(2), 125_000_000, 96 << 10);
        path.run(Duration::from_secs(1));
        assert!(path.state.is_bounded);
    }

    #[test]
    fn a_peer_that_grants_half_a_window_at_a_time_is_not_waited_for() {
        let mut path = Path::new(Duration::from_micros(500), 200 << 20, WINDOW / 2);
        path.run(Duration::from_secs(1));
        let (percent, _) = path.run(Duration::from_secs(5));
        assert!(percent >= 95, "{percent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_grants_nothing_gets_what_its_window_allows() {
        let flight = Flight::new();
        for _ in 0..32 {
            flight.room(64 << 10).await;
        }
        flight.granted(2 << 20);
        flight.room(64 << 10).await;
    }
}
