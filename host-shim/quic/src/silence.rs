//! What a client does while its node is silent, and when it answers again.

use std::time::{Duration, Instant};

use quinn::ConnectionStats;

/// The time that the node may owe an answer, beside two round trips, before it
/// is asked again, and the interval of asking.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The time before it is asked from another port, and the interval of that.
const MOVE: Duration = Duration::from_secs(3);
/// The most that two round trips count for: right after an absence, what is
/// known of them is the absence.
const SLOWEST: Duration = Duration::from_secs(2);

/// The traffic of a connection so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of datagrams received.
    pub heard: u64,
    /// The number of frames sent that the node must acknowledge.
    pub asked: u64,
}

impl Traffic {
    /// The part of a connection's counts that is looked at.
    pub fn of(stats: &ConnectionStats) -> Self {
        Self {
            heard: stats.udp_rx.datagrams,
            asked: stats.frame_tx.stream + stats.frame_tx.ping,
        }
    }
}

/// The next step about a silent node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Wait.
    Wait,
    /// Ask it again, with the last datagram.
    Ask,
    /// Ask it from another port, with a new one.
    Move,
    /// It has answered, after so long. Now both sides start over on a path of
    /// their own.
    GoOn(Duration),
}

/// The time for which a question to the node has been open.
#[derive(Debug, Default)]
pub struct Silence {
    last: Traffic,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    asked: Instant,
    moved: Instant,
}

impl Silence {
    /// The interval at which a connection is to be looked at.
    pub const LOOK: Duration = Duration::from_millis(250);

    /// Looks at a connection whose round trip is taken to be `rtt`.
    pub fn next(&mut self, traffic: &Traffic, now: Instant, rtt: Duration) -> Step {
        let slow = (2 * rtt).min(SLOWEST);
        if traffic.heard != self.last.heard {
            self.last = *traffic;
            let lasted = self.open.take().map(|open| now - open.since);
            return match lasted {
                Some(lasted) if lasted >= ASK_AGAIN + slow => Step::GoOn(lasted),
                _ => Step::Wait,
            };
        }
        if traffic.asked == self.last.asked {
            return Step::Wait;
        }
        let open = self.open.get_or_insert(Open {
            since: now,
            asked: now,
            moved: now,
        });
        if now - open.moved >= MOVE + slow {
            (open.moved, open.asked) = (now, now);
            Step::Move
        } else if now - open.asked >= ASK_AGAIN + slow {
            open.asked = now;
            Step::Ask
        } else {
            Step::Wait
        }
    }

    /// The time for which an answer has been missing.
    pub fn lasts_for(&self, now: Instant) -> Duration {
        self.open.map_or(Duration::ZERO, |open| now - open.since)
    }
}

#[cfg(test)]
mod tests;
