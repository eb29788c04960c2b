//! Notices that nothing comes from the node any more, looks for another way to
//! it, and has both sides go on as soon as there is one.

use std::time::{Duration, SystemTime};

use alknet_quic::{Client, ClientEndpoint};
use quinn::{ConnectionStats, VarInt};
use tokio::time::{Instant, sleep};

use super::reach::answers;
use crate::console::terminal::Terminal;
use crate::options::target::Target;

/// The interval at which the connection is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The time that the node may owe an answer, beside two round trips, before it
/// is asked again, and the interval of asking.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The time before it is asked from another port, and the interval of that.
const MOVE: Duration = Duration::from_secs(3);
/// The most that two round trips count for: right after an absence, what is
/// known of them is the absence.
const SLOWEST: Duration = Duration::from_secs(2);
/// The delay of a look after which the machine is taken to have slept.
const ASLEEP: Duration = Duration::from_secs(2);
/// The time that a node may be silent before a new connection is tried, and the
/// interval of trying.
const REDIAL: Duration = Duration::from_secs(30);
/// The time that a node may be silent before the log-in.
const SILENCE_BEFORE_LOGIN: Duration = Duration::from_secs(30);

/// What is needed to connect to the node again.
pub(crate) struct Redial {
    pub(crate) target: Target,
    pub(crate) client: Client,
}

/// Asks again whenever the node owes an answer for longer than it should, by
/// sending the last datagram once more: QUIC itself would wait twice as long
/// each time. A node that has crashed and is back says so when it is asked. One
/// that is the same as ever acknowledges the datagram, and what we have to send
/// goes on.
///
/// Meanwhile another port is taken every few seconds: the machine may have
/// moved to another network, or an address translator on the way may have
/// forgotten us. The node takes a client that asks from elsewhere for the same
/// one (RFC 9000 section 9).
///
/// Once the node answers, the connection itself moves to yet another port: the
/// node, which may wait much longer before it tries again what was lost, then
/// starts over on that path.
///
/// Where it is given how to connect again, the connection to a silent node is
/// closed once that would lead somewhere.
pub(crate) async fn follow(
    endpoint: ClientEndpoint,
    connection: quinn::Connection,
    again: Option<Redial>,
    terminal: Terminal,
) {
    let asking = ask(&endpoint, &connection, terminal);
    let looking_up = async {
        match &again {
            Some(again) => moved(again, &connection).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = asking => {}
        () = looking_up => {
            terminal.detail(&"the node does not answer here, but does to a new connection");
            connection.close(VarInt::from_u32(0), b"no answer");
        }
    }
}

/// Completes when nothing has been heard for a while and somebody answers a new
/// handshake: the node, at another address or without a memory of us, or
/// whoever has its place.
async fn moved(again: &Redial, connection: &quinn::Connection) {
    let heard = || connection.stats().udp_rx.datagrams;
    loop {
        let before = heard();
        sleep(REDIAL).await;
        if heard() == before && answers(&again.target, &again.client).await && heard() == before {
            return;
        }
    }
}

async fn ask(endpoint: &ClientEndpoint, connection: &quinn::Connection, terminal: Terminal) {
    let mut silence = Silence::default();
    let mut looked = SystemTime::now();
    while connection.close_reason().is_none() {
        sleep(LOOK).await;
        let slept = looked.elapsed().unwrap_or_default() > LOOK + ASLEEP;
        looked = SystemTime::now();
        let stats = connection.stats();
        let slow = (2 * connection.rtt()).min(SLOWEST);
        let step = silence.next(&Traffic::of(&stats), Instant::now(), slow);
        let peer = connection.remote_address();
        let moved = match step {
            _ if slept => endpoint.rebind(peer),
            Step::Wait => Ok(()),
            Step::Ask => {
                endpoint.resend();
                Ok(())
            }
            Step::Move => {
                terminal.detail(&"the node is silent: asking it from another port");
                let moved = endpoint.change_port(peer);
                endpoint.resend();
                moved
            }
            Step::GoOn(after) => {
                terminal.detail(&format_args!(
                    "the node answers again after {} s",
                    after.as_secs()
                ));
                endpoint.rebind(peer)
            }
        };
        if let Err(error) = moved {
            terminal.detail(&error);
        }
        // The node widens its windows for whoever has logged in.
        let logged_in = stats.frame_rx.max_data > 0;
        if !logged_in && silence.lasts_for(Instant::now()) >= SILENCE_BEFORE_LOGIN {
            connection.close(VarInt::from_u32(0), b"no answer");
        }
    }
}

/// The traffic of a connection so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    /// The number of datagrams received.
    heard: u64,
    /// The number of frames sent that the node must acknowledge.
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

/// The next step about a silent node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Wait.
    Wait,
    /// Ask it again.
    Ask,
    /// Ask it from another port.
    Move,
    /// It has answered, after so long.
    GoOn(Duration),
}

/// The time for which a question to the node has been open.
#[derive(Debug, Default)]
struct Silence {
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
    fn next(&mut self, traffic: &Traffic, now: Instant, slow: Duration) -> Step {
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

    fn lasts_for(&self, now: Instant) -> Duration {
        self.open.map_or(Duration::ZERO, |open| now - open.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_question_makes_silence() {
        let start = Instant::now();
        let mut silence = Silence::default();
        let mut next = |heard, asked, millis| {
            let now = start + Duration::from_millis(millis);
            silence.next(&Traffic { heard, asked }, now, Duration::ZERO)
        };
        assert_eq!(next(1, 1, 0), Step::Wait);
        assert_eq!(next(1, 1, 100_000), Step::Wait, "nothing was asked");
        assert_eq!(next(1, 2, 101_000), Step::Wait);
        assert_eq!(next(2, 2, 101_300), Step::Wait, "it was answered");
        assert_eq!(next(2, 3, 200_000), Step::Wait);
        assert_eq!(next(2, 4, 200_500), Step::Ask);
        assert_eq!(next(2, 4, 200_750), Step::Wait, "it has just been asked");
        assert_eq!(next(2, 4, 201_000), Step::Ask);
        assert_eq!(next(2, 5, 203_000), Step::Move);
        assert_eq!(next(2, 5, 203_250), Step::Wait);
        assert_eq!(next(2, 5, 203_500), Step::Ask);
        let lasted = Duration::from_secs(4);
        assert_eq!(next(3, 6, 204_000), Step::GoOn(lasted));
        assert_eq!(next(3, 6, 300_000), Step::Wait);
    }
}
