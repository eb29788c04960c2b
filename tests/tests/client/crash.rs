//! A node that is killed and started again: who was connected notices.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use integration_tests::target::{answers, free_port};
use integration_tests::{Alknet, Background, NODE, Relay, Setup, Target, eventually};
use rustix::process::Signal;

/// Far beyond what it takes, and far below QUIC's idle timeout of 30 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn noticed(what: &str, back: Instant, text: &str) {
    let after = back.elapsed();
    println!("{what} noticed {after:?} after the node was back");
    assert!(text.contains("the node has restarted"), "{what}: {text}");
    assert!(after < NOTICED_WITHIN, "{what}: {after:?}");
}

#[test]
fn every_kind_of_client_notices_that_the_node_was_killed() {
    let setup = Setup::new();
    setup.grant(&["ssh:forward:*:*"]);
    let mut node = setup.start();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let mut sharing = Alknet::stranger(&node);
    sharing.shares(&node, relay.addr());
    let echo = Target::echo();
    let (local, socks) = (free_port(), free_port());
    let spec = format!("127.0.0.1:{local}:127.0.0.1:{}", echo.port());
    let listen = format!("127.0.0.1:{socks}");
    let mut forward = Background::spawn(user.run(&["forward", NODE, "-L", &spec]));
    forward.says(&["listening on"]).unwrap();
    let mut socks = Background::spawn(user.run(&["socks", NODE, "--listen", &listen]));
    socks.says(&["listening on"]).unwrap();
    for (round, down) in [(1, Duration::from_secs(1)), (2, Duration::from_secs(10))] {
        let mut exec = Background::spawn(user.exec("cat"));
        exec.echoes("here");
        let mut shared = Background::spawn(sharing.exec("cat"));
        shared.echoes("here");
        let mut connect = Background::spawn(user.run(&["connect", NODE]));
        connect.write("SSH-2.0-test\r\n");
        eventually("the server answers", || {
            connect.out().contains("SSH-2.0-").then_some(())
        });

        node.signal(Signal::KILL);
        let stopped = node.wait();
        std::thread::sleep(down);
        node = stopped.setup.start();
        relay.lead_to(node.addr);
        let back = Instant::now();
        // Whoever is last waits for nothing but its own end.
        for (what, client) in [
            ("exec", exec),
            ("a shared command", shared),
            ("connect", connect),
        ] {
            let ended = client.ended_by_itself();
            noticed(what, back, &ended.err());
            assert_eq!(ended.code(), 255, "{what}: {ended}");
        }
        for (what, client) in [("forward", &mut forward), ("socks", &mut socks)] {
            let line = client
                .says_so_often(round, &["lost the connection"])
                .unwrap();
            noticed(what, back, &line);
            client.says_so_often(round, &["connected again"]).unwrap();
        }
        assert!(answers(v4(local)));
    }
}
