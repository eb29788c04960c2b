//! Up and down over paths of 50 and 200 ms, with and without loss: the bytes
//! are right, and as many come in one round trip as windows that follow the
//! path let through. A cap on windows shows here, a busy machine does not.

use std::fs;
use std::path::Path;
use std::time::Duration;

use integration_tests::{Alknet, Datagram, Random, Relay, Setup, TestNode, sha256};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What must have come in some round trip of a path without loss. A share of
/// the session's buffer, as it once was, let 128 KiB through.
const IN_A_ROUND_TRIP: usize = 512 * KIB;

fn node() -> TestNode {
    let setup = Setup::new();
    setup.grant(&[]);
    setup.start()
}

#[test]
fn fifty_milliseconds_are_filled_both_ways() {
    filled_both_ways(Duration::from_millis(25), 6 * MIB);
}

#[test]
fn two_hundred_milliseconds_are_filled_both_ways() {
    filled_both_ways(Duration::from_millis(100), 4 * MIB);
}

#[test]
fn every_byte_comes_over_a_long_path_that_loses_some() {
    let node = node();
    std::thread::scope(|scope| {
        for one_way in [25, 100].map(Duration::from_millis) {
            let node = &node;
            scope.spawn(move || {
                let relay = Relay::delaying(node.addr, one_way);
                relay.lose(10);
                both_ways(node, &relay, 384 * KIB);
            });
        }
    });
}

fn filled_both_ways(one_way: Duration, length: usize) {
    let node = node();
    let relay = Relay::delaying(node.addr, one_way);
    both_ways(&node, &relay, length);
    let log = relay.datagrams();
    for to_node in [true, false] {
        let most = most_within(&log, 2 * one_way, to_node);
        assert!(
            most >= IN_A_ROUND_TRIP,
            "{most} bytes in a round trip, towards the node: {to_node}"
        );
    }
}

/// Sends so many bytes there and gets them back in a second command.
fn both_ways(node: &TestNode, relay: &Relay, length: usize) {
    let user = Alknet::at(node, relay.addr());
    let (sent, kept) = (user.home().join("sent"), user.home().join("kept"));
    let bytes = Random::new(13).bytes(length);
    fs::write(&sent, &bytes).unwrap();
    let command = |program: &str, file: &Path| format!("{program} '{}'", file.display());
    let up = user
        .exec(&command("cat >", &kept))
        .stdin_file(&sent)
        .ended();
    assert_eq!(up.code(), 0, "{up}");
    assert_eq!(sha256(&fs::read(&kept).unwrap()), sha256(&bytes), "up");
    let back = user.home().join("back");
    let down = user.exec(&command("cat", &kept)).stdout_file(&back).ended();
    assert_eq!(down.code(), 0, "{down}");
    assert_eq!(sha256(&fs::read(&back).unwrap()), sha256(&bytes), "down");
}

/// The most bytes that came from one side within so long.
fn most_within(log: &[Datagram], span: Duration, to_node: bool) -> usize {
    let one_side: Vec<_> = log.iter().filter(|it| it.to_node == to_node).collect();
    let (mut first, mut within, mut most) = (0, 0, 0);
    for datagram in &one_side {
        within += datagram.length;
        while one_side[first].at + span < datagram.at {
            within -= one_side[first].length;
            first += 1;
        }
        most = most.max(within);
    }
    most
}
