//! How long an echo takes beside a download on the same node: both on one SSH
//! connection, or on two of one QUIC connection. Figures in ADR 43. A link can be
//! named by a part of its name.
//!
//!     cargo run --release -p integration-tests --example echo_beside_bulk

use std::time::{Duration, Instant};

use alknet_quic::{Client as QuicClient, TransportSettings, Trust, bind_client, connect};
use alknet_ssh::Client;
use alknet_ssh::client::ChannelStream;
use integration_tests::target::{Socket, gives_for_ever};
use integration_tests::{Dialled, Relay, Setup, Target, TestNode, connect_ssh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Makes a link of the relay.
type Shape = fn(&Relay);

const ECHOES: usize = 200;
/// One case takes no longer.
const LONGEST: Duration = Duration::from_secs(20);
/// After this an echo counts as stuck.
const STUCK: Duration = Duration::from_secs(5);

fn main() {
    let setup = Setup::new();
    setup.grant(&["ssh:forward:*:*"]);
    let node = setup.start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!(
        "{:<28} {:<22} {:>9} {:>9} {:>9}",
        "link", "download", "p50 ms", "p99 ms", "MiB/s"
    );
    let links: [(&str, Shape); 3] = [
        ("loopback", |_| {}),
        ("20 ms, 10 MiB/s", |relay| {
            relay.delay(Duration::from_millis(10));
            relay.limit(10 << 20);
        }),
        ("50 ms, 0.5 % loss", |relay| {
            relay.delay(Duration::from_millis(25));
            relay.lose(5);
        }),
    ];
    let only = std::env::args().nth(1).unwrap_or_default();
    for (name, set) in links.into_iter().filter(|(name, _)| name.contains(&only)) {
        for load in [
            Load::None,
            Load::SameConnection,
            Load::Another,
            Load::UnreadSame,
            Load::UnreadAnother,
        ] {
            let relay = Relay::to(node.addr);
            set(&relay);
            let (p50, p99, rate) = runtime.block_on(measure(&node, &relay, load));
            println!(
                "{name:<28} {:<22} {p50:>9.2} {p99:>9.2} {rate:>9.1}",
                load.name()
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Load {
    None,
    SameConnection,
    Another,
    UnreadSame,
    UnreadAnother,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SameConnection => "same SSH connection",
            Self::Another => "another",
            Self::UnreadSame => "unread, same",
            Self::UnreadAnother => "unread, another",
        }
    }
}

async fn measure(node: &TestNode, relay: &Relay, load: Load) -> (f64, f64, f64) {
    let dialled = dial_through(node, relay).await;
    let first = connect_ssh(node, &dialled).await;
    let second = connect_ssh(node, &dialled).await;
    let echo = Target::echo();
    let bulk = Target::tcp("127.0.0.1:0", |socket: Socket| gives_for_ever(1)(socket));
    let beside = match load {
        Load::Another | Load::UnreadAnother => &second,
        _ => &first,
    };
    let mut echoing = open(&first, &echo).await;
    let read = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut unread = None;
    if load != Load::None {
        let mut download = open(beside, &bulk).await;
        if matches!(load, Load::UnreadSame | Load::UnreadAnother) {
            unread = Some(download);
        } else {
            let read = std::sync::Arc::clone(&read);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(length @ 1..) = download.read(&mut buffer).await {
                    read.fetch_add(length as u64, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        // Past the start of it.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let started = Instant::now();
    let before = read.load(std::sync::atomic::Ordering::Relaxed);
    let mut times = Vec::new();
    let mut byte = [7];
    while times.len() < ECHOES && started.elapsed() < LONGEST {
        let sent = Instant::now();
        let round = async {
            echoing.write_all(&byte).await.unwrap();
            echoing.flush().await.unwrap();
            echoing.read_exact(&mut byte).await.unwrap();
        };
        if tokio::time::timeout(STUCK, round).await.is_err() {
            times = vec![f64::INFINITY];
            break;
        }
        times.push(sent.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bytes = read.load(std::sync::atomic::Ordering::Relaxed) - before;
    let rate = bytes as f64 / started.elapsed().as_secs_f64() / f64::from(1 << 20);
    drop(unread);
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100], rate)
}

async fn open(client: &Client, target: &Target) -> ChannelStream {
    client
        .direct_tcpip("127.0.0.1", target.port())
        .await
        .unwrap()
}

async fn dial_through(node: &TestNode, relay: &Relay) -> Dialled {
    let endpoint = bind_client(relay.addr()).unwrap();
    let client = QuicClient {
        trust: Trust::Pinned(node.node_key),
        key: None,
        alpn: b"alknet/ssh".to_vec(),
        settings: TransportSettings::default(),
    };
    let connection = connect(&endpoint, relay.addr(), &client).await.unwrap();
    Dialled {
        connection,
        endpoint,
    }
}
