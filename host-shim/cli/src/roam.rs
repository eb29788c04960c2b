//! Notices that the way to the node is dead, and looks for another.

use std::time::Duration;

use alknet_quic::ClientEndpoint;
use quinn::ConnectionStats;
use tokio::time::{Instant, sleep};

use crate::terminal::Terminal;

/// How often the connection is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long the node may owe an answer, beside two round trips, before it is
/// asked again, and how often.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The same before it is asked from another socket.
const MOVE: Duration = Duration::from_secs(3);

/// Asks again whenever the node owes an answer for longer than it should: QUIC
/// itself would wait twice as long each time, and a node that has crashed and
/// is back tells us so when it is asked. Then gives the connection a new
/// socket: the machine may have moved to another network, or an
/// address translator on the way may have forgotten us. From the new socket the
/// node is asked at once, and again every few seconds, so that the connection
/// also goes on as soon as a network that was down is back. The node takes a
/// client that asks from elsewhere for the same one (RFC 9000 section 9).
pub(crate) async fn follow(
    endpoint: ClientEndpoint,
    connection: quinn::Connection,
    terminal: Terminal,
) {
    let (mut silence, mut dead) = (Silence::default(), Silence::default());
    while connection.close_reason().is_none() {
        sleep(LOOK).await;
        let traffic = Traffic::of(&connection.stats());
        let (now, slow) = (Instant::now(), 2 * connection.rtt());
        if silence.lasts(&traffic, now, ASK_AGAIN + slow) {
            endpoint.resend();
        }
        if dead.lasts(&traffic, now, MOVE + slow) {
            match endpoint.rebind(connection.remote_address()) {
                Ok(()) => terminal.detail(&"the node is silent: asking it from a new socket"),
                Err(error) => terminal.detail(&error),
            }
        }
    }
}

/// What went over a connection so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    /// Datagrams that came.
    heard: u64,
    /// Frames sent that the node must acknowledge.
    asked: u64,
}

impl Traffic {
    fn of(stats: &ConnectionStats) -> Self {
        Self {
            heard: stats.udp_rx.datagrams,
            asked: stats.frame_tx.stream + stats.frame_tx.ping,
        }
    }
}

/// For how long a question has been open.
#[derive(Debug, Default)]
struct Silence {
    last: Traffic,
    since: Option<Instant>,
}

impl Silence {
    /// Whether an answer is overdue; not again before another `patience`.
    fn lasts(&mut self, traffic: &Traffic, now: Instant, patience: Duration) -> bool {
        if traffic.heard != self.last.heard {
            self.last = *traffic;
            self.since = None;
        } else if traffic.asked != self.last.asked && self.since.is_none() {
            self.since = Some(now);
        }
        let overdue = self.since.is_some_and(|since| now - since >= patience);
        if overdue {
            self.since = Some(now);
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_question_makes_silence() {
        let start = Instant::now();
        let mut silence = Silence::default();
        let mut lasts = |heard, asked, second| {
            let now = start + Duration::from_secs(second);
            silence.lasts(&Traffic { heard, asked }, now, MOVE)
        };
        assert!(!lasts(1, 1, 0));
        assert!(!lasts(1, 1, 100), "nothing was asked");
        assert!(!lasts(1, 2, 101));
        assert!(!lasts(2, 2, 103), "it was answered");
        assert!(!lasts(2, 3, 200));
        assert!(!lasts(2, 4, 202));
        assert!(lasts(2, 4, 203));
        assert!(!lasts(2, 5, 205), "it has just been asked again");
        assert!(lasts(2, 6, 206));
        assert!(!lasts(3, 7, 207));
        assert!(!lasts(3, 7, 300));
    }
}
