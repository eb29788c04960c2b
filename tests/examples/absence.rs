//! How long it takes after an absence until bytes flow again, by hand, for
//! gaps that no test can wait for:
//!
//! ```sh
//! cargo run --release -p integration-tests --example absence -- 600
//! ```
//!
//! With an idle command, one in which only the node has something to say, and a
//! checksummed transfer of 100 MB each way.

use std::time::{Duration, Instant};

use integration_tests::{Alknet, Background, Random, Relay, Setup, sha256_of_file};

const LARGE: usize = 100_000_000;
const LOOK: Duration = Duration::from_millis(5);
/// Beyond this after the network's return, it is a failure.
const HANG: Duration = Duration::from_secs(300);

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let gap = Duration::from_secs(seconds.unwrap_or(40));
    let setup = Setup::new();
    setup.grant(&[]);
    let node = setup.start();
    let relay = Relay::delaying(node.addr, Duration::from_millis(5));
    let user = Alknet::at(&node, relay.addr());
    let folder = node.setup.folder();
    let (up, down) = (folder.join("up"), folder.join("down"));
    let mut random = Random::new(1);
    let (sent, given) = (random.file(&up, LARGE), random.file(&down, LARGE));

    let mut idle = Background::spawn(user.exec("cat"));
    idle.echoes("before");
    let talks = Background::spawn(user.exec(&format!("sleep {}; echo later", gap.as_secs() / 2)));
    relay.limit(8 << 20);
    let got = folder.join("got");
    let upload = user.exec("sha256sum");
    let upload = upload.stdin_file(&up).spawn();
    let download = user.exec(&format!("cat {}", down.display()));
    let download = download.stdout_file(&got).spawn();
    std::thread::sleep(Duration::from_secs(2));
    let moved = || relay.datagrams().len();
    println!("{} datagrams before the gap of {gap:?}", moved());
    relay.cut();
    std::thread::sleep(gap);
    let asked = relay
        .datagrams()
        .iter()
        .rev()
        .take_while(|sent| !sent.passed)
        .count();
    println!("{asked} datagrams were lost in the gap");
    relay.mend();
    let back = Instant::now();
    idle.write("after\n");
    until("the idle command answers", back, || {
        idle.out().contains("after")
    });
    until("what the node said arrives", back, || {
        talks.out().contains("later")
    });
    relay.limit(200 << 20);
    let ended = upload.ended();
    assert!(ended.out().starts_with(&sent), "{ended}");
    println!("the upload ended {:?} after the network", back.elapsed());
    let ended = download.ended();
    assert_eq!(sha256_of_file(&got), given, "{ended}");
    println!("the download ended {:?} after the network", back.elapsed());
}

fn until(what: &str, back: Instant, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(back.elapsed() < HANG, "never: {what}");
        std::thread::sleep(LOOK);
    }
    println!("{what} {:?} after the network", back.elapsed());
}
