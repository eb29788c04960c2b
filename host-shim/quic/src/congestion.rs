//! How fast a connection sends, given what the path loses.

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::TransportConfig;
use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

mod probing;

#[cfg(test)]
pub(crate) use probing::ask;
pub use probing::probe;

use probing::ProbingFactory;

/// A congestion controller. It concerns what this end sends only, so that the
/// two ends of a connection need not have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC (RFC 9438): takes every loss for congestion, and is slow where
    /// packets are lost at random.
    Cubic,
    /// CUBIC that takes a loss for congestion only where there is a queue or
    /// much is lost, and that stops doubling its window when a queue begins.
    #[default]
    Adaptive,
}

/// A name that no congestion controller has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected cubic or adaptive")]
pub struct UnknownCongestion;

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cubic => "cubic",
            Self::Adaptive => "adaptive",
        })
    }
}

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "cubic" => Ok(Self::Cubic),
            "adaptive" => Ok(Self::Adaptive),
            _ => Err(UnknownCongestion),
        }
    }
}

impl Congestion {
    pub(crate) fn apply(self, transport: &mut TransportConfig) {
        let factory: Arc<dyn ControllerFactory + Send + Sync> = match self {
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Adaptive => Arc::new(AdaptiveFactory),
        };
        transport.congestion_controller_factory(Arc::new(ProbingFactory(factory)));
    }
}

/// The congestion window at the start, in bytes (RFC 9002 section 7.2).
const INITIAL_WINDOW: u64 = 14_720;
/// The round trip below which every loss counts as congestion: CUBIC recovers
/// fast enough there, and what is lost was too much for a socket.
const SHORT: Duration = Duration::from_millis(1);
/// The time by which a round trip may vary without a queue, beside a fraction
/// of itself: an eighth at the start (`PART_AT_START`), a quarter later
/// (`PART`).
const JITTER: Duration = Duration::from_millis(2);
const PART_AT_START: u32 = 8;
const PART: u32 = 4;
/// The share of losses that is congestion, queue or not: more than one byte in
/// `TOLERATED`, where at least `FEW` bytes were lost.
const TOLERATED: u64 = 33;
const FEW: u64 = 8 * 1200;
/// The number of bytes over which losses are counted; afterwards both counts
/// are halved.
const COUNTED: u64 = 1 << 20;
/// The window, in bytes, up to which it doubles in a round trip at the start;
/// then it grows by an eighth. If it overshoots a short queue every second
/// packet is lost, and quinn's receiver ends a connection with more than 1024
/// gaps in a stream.
const DOUBLED: u64 = 5 << 19;
const EIGHTH: u64 = 8;
/// A queue at the start means that the window is a little too large already.
/// CUBIC takes 3/10 off what it is given; with a third more it goes on from nine
/// tenths of the window.
const AT_FIRST_QUEUE: u64 = 13;
const TENTHS: u64 = 10;

struct AdaptiveFactory;

impl ControllerFactory for AdaptiveFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Adaptive {
            start: Some(INITIAL_WINDOW),
            cubic: cubic(INITIAL_WINDOW, now, current_mtu),
            mtu: current_mtu,
            least: Duration::ZERO,
            present: Duration::ZERO,
            sent: 0,
            lost: 0,
        })
    }
}

fn cubic(window: u64, now: Instant, mtu: u16) -> Box<dyn Controller> {
    let mut config = CubicConfig::default();
    config.initial_window(window);
    Arc::new(config).build(now, mtu)
}

struct Adaptive {
    /// The window until the first congestion.
    start: Option<u64>,
    /// CUBIC, whose window is used afterwards.
    cubic: Box<dyn Controller>,
    mtu: u16,
    /// The round trip: the shortest one seen and the latest one.
    least: Duration,
    present: Duration,
    /// Bytes sent and lost of late, see `COUNTED`.
    sent: u64,
    lost: u64,
}

impl Adaptive {
    fn has_queue(&self, part: u32) -> bool {
        self.present > self.least + self.least / part + JITTER
    }

    /// Whether the loss says nothing about the rate.
    fn is_noise(&self) -> bool {
        let few = self.lost < FEW || self.lost < self.sent / TOLERATED;
        self.least > SHORT && !self.has_queue(PART) && few
    }

    fn congested(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost: u64) {
        if let Some(window) = self.start.take() {
            self.cubic = cubic(window, now, self.mtu);
        }
        self.cubic
            .on_congestion_event(now, sent, is_persistent, lost);
    }
}

impl Controller for Adaptive {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.sent += bytes;
        if self.sent > COUNTED {
            self.sent /= 2;
            self.lost /= 2;
        }
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.least = rtt.min();
        self.present = rtt.get();
        let Some(window) = self.start else {
            self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
            return;
        };
        if self.least > SHORT && self.has_queue(PART_AT_START) {
            self.start = Some(window.saturating_mul(AT_FIRST_QUEUE) / TENTHS);
            self.congested(now, now, false, 0);
        } else if !app_limited {
            let grown = if window < DOUBLED {
                bytes
            } else {
                bytes / EIGHTH
            };
            self.start = Some(window.saturating_add(grown));
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.lost += lost_bytes;
        // Nothing is lost where a router marks packets instead (RFC 3168).
        let is_mark = lost_bytes == 0;
        if is_persistent_congestion || is_mark || !self.is_noise() {
            self.congested(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.start.unwrap_or_else(|| self.cubic.window())
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests;
