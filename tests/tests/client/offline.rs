//! A session outlives the network: real minutes without a packet.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use integration_tests::target::{answers, connect, free_port};
use integration_tests::{
    Alknet, Background, NODE, Random, Relay, Run, Setup, Ssh, Target, TestNode, eventually,
    sha256_of_file,
};
use rustix::process::Signal;
use serde_json::Value;

/// Longer than the 30 s after which QUIC alone would give up.
const GAP: Duration = Duration::from_secs(40);
const LARGE: usize = 100_000_000;

fn node() -> TestNode {
    let setup = Setup::new();
    setup.grant(&["ssh:shell", "ssh:sftp", "ssh:forward:*:*", "ssh:listen:*:*"]);
    setup.start()
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Says how long it took since the network was back. No assertion: this is a
/// machine under load.
fn says(what: &str, back: Instant) {
    println!("{what}: first byte {:?} after the network", back.elapsed());
}

/// Runs to its end beside everything else; gives what it wrote.
fn beside(run: Run) -> JoinHandle<String> {
    thread::spawn(move || {
        let ended = run.ended();
        assert_eq!(ended.code(), 0, "{ended}");
        ended.out()
    })
}

fn sessions(node: &TestNode) -> Vec<Value> {
    let run = node.setup.node(&["sessions", "list", "--json", "--state"]);
    let ended = run.arg(node.setup.state()).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    serde_json::from_str(&ended.out()).unwrap()
}

fn away(node: &TestNode) -> usize {
    let sessions = sessions(node);
    let is_away = |session: &&Value| session["away_since_unix_ms"].is_u64();
    sessions.iter().filter(is_away).count()
}

#[test]
fn everything_goes_on_after_forty_seconds_without_network() {
    let node = node();
    let relay = Relay::delaying(node.addr, Duration::from_millis(5));
    let user = Alknet::at(&node, relay.addr());
    let folder = node.setup.folder();
    let (up, down) = (folder.join("up"), folder.join("down"));
    let mut random = Random::new(1);
    let (sent, given) = (random.file(&up, LARGE), random.file(&down, LARGE));

    let mut pty = Background::spawn(user.run(&["exec", "-tt", NODE, "stty -echo; cat"]));
    pty.echoes("before");
    let mut stock = Background::spawn(Ssh::at(&node, relay.addr()).command("cat"));
    stock.echoes("before");
    // Only the node has something to say, and says it while nobody hears.
    let talks = Background::spawn(user.exec("sleep 20; echo later; cat"));
    let echo = Target::echo();
    let (local, remote) = (free_port(), free_port());
    let local_spec = format!("{local}:127.0.0.1:{}", echo.port());
    let mut forward = Background::spawn(user.run(&["forward", NODE, "-L", &local_spec]));
    forward.says(&["listening on"]).unwrap();
    let mut carried = connect(v4(local)).unwrap();
    echoes(&mut carried);
    let remote_spec = format!("127.0.0.1:{remote}:127.0.0.1:{}", echo.port());
    let mut lost = Background::spawn(user.run(&["forward", NODE, "-R", &remote_spec]));
    lost.says(&["the node listens on"]).unwrap();

    // Some seconds of them are left when the network goes.
    relay.limit(8 << 20);
    let upload = beside(user.exec("sha256sum").stdin_file(&up));
    let (got, copied) = (folder.join("got"), folder.join("copied"));
    let download = user.exec(&format!("cat {}", down.display()));
    let download = beside(download.stdout_file(&got));
    let copy = beside(user.run(&["cp", &format!("{NODE}:{}", down.display()), &text(&copied)]));
    eventually("all transfers are under way", || {
        let datagrams = relay.datagrams();
        let bytes = |to_node| -> usize {
            let of_it = datagrams.iter().filter(|sent| sent.to_node == to_node);
            of_it.map(|sent| sent.length).sum()
        };
        (bytes(true) > 4 << 20 && bytes(false) > 4 << 20).then_some(())
    });
    relay.cut();
    let cut = Instant::now();
    eventually("the node knows that they are away", || {
        (away(&node) >= 7).then_some(())
    });
    // The port moves to who asks for it now.
    let here = Alknet::to(&node);
    let mut newer = Background::spawn(here.run(&["forward", NODE, "-R", &remote_spec]));
    newer.says(&["the node listens on"]).unwrap();
    assert!(answers(v4(remote)));
    thread::sleep(GAP.saturating_sub(cut.elapsed()));
    relay.mend();
    let back = Instant::now();

    echoes(&mut carried);
    says("forward -L", back);
    eventually("what was said meanwhile arrives", || {
        talks.out().contains("later").then_some(())
    });
    says("output of the node alone", back);
    pty.echoes("after");
    says("exec -tt", back);
    stock.echoes("after");
    says("ssh through connect", back);
    relay.limit(200 << 20);
    assert!(upload.join().unwrap().starts_with(&sent));
    for (transfer, file) in [(download, &got), (copy, &copied)] {
        transfer.join().unwrap();
        assert_eq!(sha256_of_file(file), given);
    }
    println!("all transfers ended {:?} after the network", back.elapsed());
    eventually("nobody is away", || (away(&node) == 0).then_some(()));
    lost.says(&["moved to a newer session"]).unwrap();
    assert!(answers(v4(remote)), "it is still the newer one's");
    // The character that ends what a terminal reads.
    pty.write("\u{4}");
    for (what, client) in [("exec", pty), ("ssh", stock), ("talks", talks)] {
        let ended = client.ended();
        assert_eq!(ended.code(), 0, "{what}: {ended}");
    }
}

/// Sends a line through an echo and waits for it.
fn echoes(socket: &mut (impl Read + Write)) {
    socket.write_all(b"a line\n").unwrap();
    let mut heard = [0; 7];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"a line\n");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_node_that_restarted_while_the_client_was_away_says_so_at_once() {
    let node = node();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let mut idle = Background::spawn(user.exec("cat"));
    idle.echoes("here");
    let up = node.setup.folder().join("up");
    Random::new(2).file(&up, LARGE);
    let busy = user.exec("cat > /dev/null").stdin_file(&up).spawn();
    eventually("an upload is under way", || {
        let bytes: usize = relay.datagrams().iter().map(|sent| sent.length).sum();
        (bytes > 4 << 20).then_some(())
    });
    relay.cut();
    node.signal(Signal::KILL);
    let stopped = node.wait();
    // Some changes of the port.
    thread::sleep(Duration::from_secs(8));
    let node = stopped.setup.start();
    relay.lead_to(node.addr);
    relay.mend();
    let back = Instant::now();
    for (what, ended) in [
        ("an idle exec", idle.ended_by_itself()),
        ("an upload", busy.ended()),
    ] {
        println!("{what} noticed {:?} after the network", back.elapsed());
        assert!(
            ended.err().contains("the node has restarted"),
            "{what}: {ended}"
        );
    }
}

#[test]
fn an_operator_ends_the_session_of_a_peer_that_is_away() {
    let node = node();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("here");
    relay.cut();
    eventually("it is away", || (away(&node) == 1).then_some(()));
    let session = sessions(&node).remove(0);
    let id = format!("{}.{}", session["generation"], session["id"]);
    let close = node.setup.node(&["sessions", "close", &id, "--state"]);
    assert_eq!(close.arg(node.setup.state()).ended().code(), 0);
    eventually("it is gone", || sessions(&node).is_empty().then_some(()));
    relay.mend();
    let ended = cat.ended_by_itself();
    assert_eq!(ended.code(), 255, "{ended}");
}

#[test]
fn the_limit_of_either_side_counts() {
    let setup = Setup::new();
    let node = setup.start();
    let relay = Relay::to(node.addr);
    let user = Alknet::at(&node, relay.addr());
    let run = user.run(&["exec", "--offline-seconds", "30", NODE, "cat"]);
    let mut cat = Background::spawn(run);
    cat.echoes("here");
    relay.cut();
    let ended = cat.ended_by_itself();
    assert_eq!(ended.code(), 255, "{ended}");
    assert!(ended.err().contains("it is silent"), "{ended}");
    eventually("the node knows as well", || {
        sessions(&node).is_empty().then_some(())
    });
}
