//! How often our client waits for the node before a command is over.

use std::time::Duration;

use integration_tests::{Alknet, Relay, Setup, TestNode};

/// ADR 44 says what each is for.
const FIRST_COMMAND: usize = 7;

/// Half of a round trip of 50 ms.
const ONE_WAY: Duration = Duration::from_millis(25);

/// A busy machine can make it look like more, never like less.
const TRIES: usize = 5;

#[test]
fn the_first_command_takes_seven_round_trips() {
    let setup = Setup::new();
    setup.grant(&[]);
    let node = setup.start();
    let counted = least(FIRST_COMMAND, &node, |user| {
        let ended = user.exec("true").ended();
        assert_eq!(ended.code(), 0, "{ended}");
    });
    assert_eq!(counted, FIRST_COMMAND);
}

/// The least that was counted, or the first count that is no more than wanted.
fn least(wanted: usize, node: &TestNode, act: impl Fn(&Alknet)) -> usize {
    let mut least = usize::MAX;
    for _ in 0..TRIES {
        let relay = Relay::delaying(node.addr, ONE_WAY);
        let user = Alknet::at(node, relay.addr());
        act(&user);
        // Until the last it sent has been seen.
        std::thread::sleep(ONE_WAY);
        least = least.min(relay.round_trips());
        if least <= wanted {
            break;
        }
    }
    least
}
