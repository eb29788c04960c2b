//! What a node takes at its start, with 2,000 sessions, five seconds after
//! them, and with twenty versions of the SSH plugin one after the other under
//! load. Figures in ADR 62.
//!
//!     cargo run --release -p integration-tests --example memory

use std::fs;
use std::time::Duration;

use alknet_ssh::{Client, RemoteProcess};
use integration_tests::swapping::{SSH, install, status, swap, variant};
use integration_tests::{
    Dialled, Random, Setup, TestNode, artifacts, connect_ssh, dial, eventually,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

const SESSIONS: usize = 2000;
const SWAPS: u64 = 20;
/// Sessions that go on all the while.
const LOAD: usize = 20;

fn main() {
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 64\n");
    setup.append("node.toml", "\n[connections]\nmax_per_address = 4000\n");
    // A socket for each client.
    let files = Rlimit {
        current: Some(8192),
        maximum: Some(8192),
    };
    setrlimit(Resource::Nofile, files).unwrap();
    let node = setup.start();
    let runtime = Runtime::new().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    say(&node, "start, nobody was there");
    drop(runtime.block_on(Session::open(&node)));
    std::thread::sleep(Duration::from_secs(5));
    say(&node, "5 s after the first session");
    crowd(&node, &runtime);
    swaps(&node, &runtime);
}

fn crowd(node: &TestNode, runtime: &Runtime) {
    let mut there = Vec::new();
    while there.len() < SESSIONS {
        there.push(runtime.block_on(async {
            let quic = dial(node).await;
            let client = connect_ssh(node, &quic).await;
            (quic, client)
        }));
    }
    say(node, &format!("{SESSIONS} sessions"));
    runtime.block_on(async {
        for (quic, client) in there {
            client.disconnect().await;
            quic.connection.close(0_u32.into(), b"");
        }
    });
    settled(node);
    std::thread::sleep(Duration::from_secs(5));
    say(node, "5 s after they ended");
}

fn swaps(node: &TestNode, runtime: &Runtime) {
    let setup = &node.setup;
    let mut load: Vec<_> = (0..LOAD)
        .map(|_| runtime.block_on(Session::open(node)))
        .collect();
    say(node, &format!("{LOAD} sessions that go on"));
    for mark in 1..=SWAPS {
        install(setup, &variant(&artifacts().plugin, mark), SSH);
        assert_eq!(swap(setup).code(), 0);
        // One more, which keeps each version.
        load.push(runtime.block_on(Session::open(node)));
        for session in &mut load {
            runtime.block_on(session.works());
        }
    }
    std::thread::sleep(Duration::from_secs(3));
    say(node, &format!("{SWAPS} swaps, a session on each version"));
    drop(load);
    settled(node);
    std::thread::sleep(Duration::from_secs(5));
    say(node, "5 s after they ended");
}

/// Nobody is connected, and no replaced version is left.
fn settled(node: &TestNode) {
    eventually("everybody has gone", || {
        let now = status(&node.setup);
        let generations = now["generations"].as_array().unwrap();
        (generations.len() == 1 && generations[0]["sessions"] == 0).then_some(())
    });
}

fn say(node: &TestNode, when: &str) {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let mib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    };
    let open = fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
    println!(
        "{when:<40} RSS {:>6.1} MiB, of it anonymous {:>6.1}, of files {:>5.1}; {:>4} descriptors",
        mib("VmRSS:"),
        mib("RssAnon:"),
        mib("RssFile:"),
        open.count()
    );
}

/// A session with an echo.
struct Session {
    process: RemoteProcess,
    random: Random,
    _client: Client,
    _quic: Dialled,
}

impl Session {
    async fn open(node: &TestNode) -> Self {
        let quic = dial(node).await;
        let client = connect_ssh(node, &quic).await;
        Self {
            process: client.exec("cat", &[]).await.unwrap(),
            random: Random::new(1),
            _client: client,
            _quic: quic,
        }
    }

    async fn works(&mut self) {
        let sent = self.random.bytes(64 << 10);
        let mut back = vec![0; sent.len()];
        let (written, read) = tokio::join!(
            self.process.stdin.send(sent.clone()),
            self.process.stdout.read_exact(&mut back)
        );
        written.unwrap();
        read.unwrap();
        assert!(back == sent, "other bytes came back than were sent");
    }
}
