//! Notices that nothing comes from the node any more, looks for another way to
//! it, and has both sides go on as soon as there is one.

use std::time::{Duration, Instant, SystemTime};

use alknet_quic::{Client, ClientEndpoint, Silence, Step, Traffic, probe};
use alknet_text::span;
use quinn::VarInt;
use tokio::time::sleep;

use super::reach::answers;
use crate::console::terminal::Terminal;
use crate::options::target::Target;

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
/// one (RFC 9000 section 9). From there it is asked with a new packet: how long
/// the acknowledgement of the last one takes counts as a round trip.
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
    receive_window: u32,
    again: Option<Redial>,
    terminal: Terminal,
) {
    let asking = ask(&endpoint, &connection, receive_window, terminal);
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

async fn ask(
    endpoint: &ClientEndpoint,
    connection: &quinn::Connection,
    receive_window: u32,
    terminal: Terminal,
) {
    let mut silence = Silence::default();
    let mut looked = SystemTime::now();
    while connection.close_reason().is_none() {
        sleep(Silence::LOOK).await;
        let slept = looked.elapsed().unwrap_or_default() > Silence::LOOK + ASLEEP;
        looked = SystemTime::now();
        let stats = connection.stats();
        let step = silence.next(&Traffic::of(&stats), Instant::now(), connection.rtt());
        let peer = connection.remote_address();
        let moved = match step {
            _ if slept => {
                let moved = endpoint.rebind(peer);
                probe(connection, receive_window);
                moved
            }
            Step::Wait => Ok(()),
            Step::Ask => {
                endpoint.resend();
                Ok(())
            }
            Step::Move => {
                terminal.detail(&"the node is silent: asking it from another port");
                let moved = endpoint.change_port(peer);
                probe(connection, receive_window);
                moved
            }
            Step::GoOn(after) => {
                terminal.detail(&format_args!(
                    "the node answers again after {}",
                    span(after)
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
