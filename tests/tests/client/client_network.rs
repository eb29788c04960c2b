//! Our client on a network that drops, moves and comes back.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::time::Duration;

use integration_tests::target::{answers, connect, drain, exchange, free_port, gives_then_hears};
use integration_tests::{
    Alknet, Background, NODE, Random, Relay, Setup, Target, TestNode, eventually, sha256,
};

const MIB: usize = 1 << 20;

fn node() -> TestNode {
    let setup = Setup::new();
    setup.grant(&["ssh:forward:*:*", "ssh:listen:*:*"]);
    setup.start()
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn an_interactive_command_does_not_notice_that_the_clients_port_changes() {
    let node = node();
    let relay = Relay::delaying(node.addr, Duration::from_millis(5));
    let user = Alknet::at(&node, relay.addr());
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("before");
    for round in 0..5 {
        relay.change_ports();
        cat.echoes(&format!("round {round}"));
    }
    let ended = cat.ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(ended.err(), "");
}

#[test]
fn a_way_that_is_dead_is_left_for_another() {
    let node = node();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("before");
    for round in 0..2 {
        // As a translator of addresses that has lost its table, or a network
        // that the machine has left: from the old socket nothing gets through.
        relay.forget_clients();
        cat.echoes(&format!("round {round}"));
        assert_eq!(relay.clients(), 1);
    }
    let ended = cat.ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(ended.err(), "");
}

#[test]
fn a_cut_of_twenty_seconds_in_the_middle_of_a_forward_loses_nothing() {
    let node = node();
    let relay = Relay::delaying(node.addr, Duration::from_millis(5));
    let user = Alknet::at(&node, relay.addr());
    let (heard, hears) = channel();
    let target = Target::tcp("127.0.0.1:0", gives_then_hears(1, 16 * MIB, heard));
    let echo = Target::echo();
    let (port, other) = (free_port(), free_port());
    let spec = |port: u16, to: &Target| format!("{port}:127.0.0.1:{}", to.port());
    let mut forward = Background::spawn(user.run(&[
        "forward",
        NODE,
        "-L",
        &spec(port, &target),
        "-L",
        &spec(other, &echo),
    ]));
    forward.says_so_often(4, &["listening on"]).unwrap();
    // Some seconds of it.
    relay.limit(4 << 20);
    let transfer = std::thread::spawn(move || {
        let mut socket = connect(v4(port)).unwrap();
        let given = drain(&mut socket);
        socket.write_all(&Random::new(2).bytes(MIB)).unwrap();
        socket.finish();
        given
    });
    let both_ways = std::thread::spawn(move || exchange(connect(v4(other)).unwrap(), 3, 16 * MIB));
    eventually("the transfer is under way", || {
        let bytes: usize = relay.datagrams().iter().map(|sent| sent.length).sum();
        (bytes > 4 * MIB).then_some(())
    });
    relay.cut();
    std::thread::sleep(Duration::from_secs(20));
    // Who comes meanwhile is let in, and served when the network is back.
    let meanwhile = std::thread::spawn(move || answers(v4(other)));
    std::thread::sleep(Duration::from_secs(1));
    relay.mend();
    let given = transfer.join().unwrap();
    let whole = sha256(&Random::new(1).bytes(16 * MIB));
    assert_eq!(given, (16 * MIB, whole), "{}", forward.err());
    let whole = sha256(&Random::new(2).bytes(MIB));
    assert_eq!(hears.recv().unwrap(), (MIB, whole));
    assert_eq!(both_ways.join().unwrap(), Ok(()));
    assert!(meanwhile.join().unwrap());
    assert!(answers(v4(other)));
}

#[test]
fn after_a_restart_of_the_node_the_forwards_are_there_again() {
    let node = node();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let target = Target::echo();
    let (local, remote) = (free_port(), free_port());
    let spec = |port: u16| format!("127.0.0.1:{port}:127.0.0.1:{}", target.port());
    let mut forward =
        Background::spawn(user.run(&["forward", NODE, "-L", &spec(local), "-R", &spec(remote)]));
    forward.says(&["the node listens on"]).unwrap();
    assert!(answers(v4(local)) && answers(v4(remote)));
    let mut setup = node.stop().setup;
    for round in 1..=2 {
        forward
            .says_so_often(round, &["lost the connection"])
            .unwrap();
        // The listener is still there; who comes now has to wait.
        let waiting = std::thread::spawn(move || answers(v4(local)));
        let node = setup.start();
        relay.lead_to(node.addr);
        assert!(waiting.join().unwrap());
        forward.says_so_often(round, &["connected again"]).unwrap();
        let again = ["the node listens on", "again"];
        forward.says_so_often(round, &again).unwrap();
        assert!(answers(v4(local)) && answers(v4(remote)));
        setup = node.stop().setup;
    }
    assert_eq!(forward.status(), None, "it goes on");
    let said = forward.err();
    // A line for each change, and no more.
    assert!(said.lines().count() <= 2 + 3 * 3, "{said}");
}

#[test]
fn a_node_with_another_key_ends_it() {
    let node = node();
    let other = Setup::new();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let port = free_port();
    let spec = format!("127.0.0.1:{port}:127.0.0.1:1");
    let mut forward = Background::spawn(user.run(&["forward", NODE, "-L", &spec]));
    forward.says(&["listening on"]).unwrap();
    let other = other.start();
    relay.lead_to(other.addr);
    drop(node.stop());
    forward.says(&["expected the node key"]).unwrap();
    let ended = forward.ended();
    assert_eq!(ended.code(), 255, "{ended}");
}

#[test]
fn a_path_that_is_too_narrow_for_quic_is_named() {
    let node = node();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    // An MTU of 1280 is enough, also for more than fits into one packet.
    relay.narrow(1280 - 28);
    let ended = user.exec("head -c 300000 /dev/zero | wc -c").ended();
    assert_eq!(ended.out().trim(), "300000", "{ended}");
    let ended = user.exec("wc -c").stdin(vec![7; 300_000]).ended();
    assert_eq!(ended.out().trim(), "300000", "{ended}");
    // One of 1200 is not.
    relay.narrow(1200 - 28);
    let exec = ["exec", "--timeout", "3", NODE, "true"];
    let ended = user.run(&exec).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["no answer from", "MTU of 1228 bytes", "tcp_listen"]);
}
