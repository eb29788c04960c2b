//! One forward that is stuck, and those beside it.
//!
//! The rates are printed for people; what is asserted are bytes, digests and
//! memory. `ALKNET_TEST_FULL=1` moves the full amounts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration_tests::target::{
    Socket, connect, digests_slowly, exchange, free_port, gives_for_ever, never_reads,
};
use integration_tests::{
    Background, HANG, Memory, Random, Setup, Ssh, Target, TestNode, Transport, eventually,
    requires, sha256,
};

const MIB: usize = 1 << 20;
/// Forwards beside the stuck one.
const OTHERS: usize = 8;
/// What each of them moves in a round, each way.
const ROUND: usize = 4 * MIB;
/// What a session may cost a node.
const MEMORY_MIB: usize = 64;

const PATIENCE: &str = "limits.stalled_channel_seconds = 3";

fn full() -> bool {
    std::env::var_os("ALKNET_TEST_FULL").is_some()
}

/// Nine forwards over one SSH connection: one to `stuck`, eight to an echo.
struct Nine {
    tunnel: Background,
    stuck: u16,
    others: Vec<u16>,
}

impl Nine {
    fn open(ssh: &Ssh, stuck: SocketAddr, echo: SocketAddr) -> Self {
        let ports: Vec<_> = (0..=OTHERS).map(|_| free_port()).collect();
        let forwards: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(number, port)| {
                let target = if number == 0 { stuck } else { echo };
                format!("127.0.0.1:{port}:{target}")
            })
            .collect();
        let args: Vec<_> = forwards.iter().flat_map(|it| ["-L", it.as_str()]).collect();
        let tunnel = ssh.tunnel(&args).unwrap_or_else(|ended| panic!("{ended}"));
        Self {
            tunnel,
            stuck: ports[0],
            others: ports[1..].to_vec(),
        }
    }

    fn stuck(&self) -> Socket {
        connect((Ipv4Addr::LOCALHOST, self.stuck).into()).unwrap()
    }

    /// Moves so many rounds over all the others at once, each way; all must
    /// come back as it was sent. MiB/s of all together.
    fn round(&self) -> f64 {
        let start = Instant::now();
        let transfers: Vec<_> = self
            .others
            .iter()
            .map(|&port| {
                std::thread::spawn(move || {
                    let socket = connect((Ipv4Addr::LOCALHOST, port).into()).unwrap();
                    exchange(socket, port.into(), ROUND)
                })
            })
            .collect();
        for (number, transfer) in transfers.into_iter().enumerate() {
            let outcome = transfer.join().unwrap();
            assert_eq!(outcome, Ok(()), "forward {number}: {}", self.said());
        }
        (OTHERS * ROUND / MIB) as f64 / start.elapsed().as_secs_f64()
    }

    /// What ssh says that is not chatter.
    fn said(&self) -> String {
        let err = self.tunnel.err();
        let lines = err.lines().filter(|line| !line.starts_with("debug1"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The best of three rounds.
    fn free_rate(&self) -> f64 {
        (0..3).map(|_| self.round()).fold(0.0, f64::max)
    }
}

/// A node, a target that is served by `stuck`, and an echo.
fn world(
    stuck: impl Fn(Socket) + Send + Sync + 'static,
    config: &str,
) -> Option<(TestNode, Target, Target)> {
    requires(&["ssh"]).then(|| {
        let stuck = Target::tcp("127.0.0.1:0", stuck);
        let echo = Target::echo();
        let setup = Setup::new();
        setup.listen_on_tcp();
        setup.grant(&["ssh:forward:127.0.0.1:*"]);
        setup.ssh_config(config);
        (setup.start(), stuck, echo)
    })
}

fn ways(node: &TestNode) -> [(Transport, Ssh); 2] {
    Transport::ALL.map(|transport| (transport, Ssh::over(transport, node, &node.setup.key)))
}

#[test]
fn a_client_that_never_reads_one_forward_keeps_the_others() {
    let Some((node, source, echo)) = world(gives_for_ever(30), PATIENCE) else {
        return;
    };
    for (transport, ssh) in ways(&node) {
        let nine = Nine::open(&ssh, source.addr, echo.addr);
        let free = nine.free_rate();
        let memory = Memory::watch(&node);
        let mut unread = nine.stuck();
        // Some of it came: it is really on its way.
        unread.read_exact(&mut [0; 1000]).unwrap();
        let held = nine.free_rate();
        say("a client that never reads", transport, free, held, &memory);
        // For good, not for a while.
        for _ in 0..3 {
            nine.round();
        }
        assert!(memory.growth_mib() < MEMORY_MIB);
        // It was held back, not cut off: the rest of it is all there.
        let mut rest = vec![0; 8 * MIB];
        unread.read_exact(&mut rest).unwrap();
        let all = Random::new(30);
        assert_eq!(sha256(&rest), sha256(&source_bytes(all, 1000, 8 * MIB)));
    }
}

/// `length` bytes of a source that gives 64 KiB at a time, after `skip`.
fn source_bytes(mut random: Random, skip: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < skip + length {
        bytes.extend(random.bytes(64 << 10));
    }
    bytes[skip..skip + length].to_vec()
}

#[test]
fn a_target_that_never_reads_a_few_megabytes_keeps_the_others() {
    let Some((node, sink, echo)) = world(never_reads, PATIENCE) else {
        return;
    };
    for (transport, ssh) in ways(&node) {
        let nine = Nine::open(&ssh, sink.addr, echo.addr);
        let free = nine.free_rate();
        let memory = Memory::watch(&node);
        let mut stuck = nine.stuck();
        let sent = std::thread::spawn(move || {
            stuck.write_all(&Random::new(31).bytes(4 * MIB)).unwrap();
            stuck
        });
        let held = nine.free_rate();
        let stuck = sent.join().unwrap();
        say(
            "a target that never reads 4 MiB",
            transport,
            free,
            held,
            &memory,
        );
        for _ in 0..3 {
            nine.round();
        }
        assert!(memory.growth_mib() < MEMORY_MIB);
        drop(stuck);
    }
}

#[test]
fn a_target_that_never_reads_anything_is_given_up() {
    let Some((node, sink, echo)) = world(never_reads, PATIENCE) else {
        return;
    };
    for (number, (transport, ssh)) in ways(&node).into_iter().enumerate() {
        let nine = Nine::open(&ssh, sink.addr, echo.addr);
        let free = nine.free_rate();
        let memory = Memory::watch(&node);
        let flood = Flood::start(nine.stuck(), 1 << 30);
        let mut rounds = 0;
        let start = Instant::now();
        // The others run on with their digests right, however long it takes.
        while !flood.is_over() {
            nine.round();
            rounds += 1;
            assert!(
                start.elapsed() < HANG,
                "it is never given up: {}",
                node.log()
            );
        }
        let closed = start.elapsed().as_secs_f64();
        let (sent, cut) = flood.join();
        assert!(cut, "all of it was taken though nobody reads");
        let held = nine.free_rate();
        println!(
            "{transport:?}: closed {closed:.1} s after the first byte, {sent} bytes into it; {rounds} rounds meanwhile"
        );
        say(
            "a target that never reads 1 GB",
            transport,
            free,
            held,
            &memory,
        );
        assert!(memory.growth_mib() < MEMORY_MIB);
        eventually("the node says why", || {
            let log = node.log();
            let said = log
                .lines()
                .filter(|line| line.contains("its target took nothing"));
            (said.count() == number + 1).then_some(())
        });
        // Silence is not what anybody is cut off for.
        let mut again = nine.stuck();
        again.write_all(b"once more").unwrap();
        nine.round();
    }
}

/// A thread that writes until it cannot.
struct Flood {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(usize, bool)>,
}

impl Flood {
    fn start(mut socket: Socket, length: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let chunk = Random::new(32).bytes(MIB);
            let mut sent = 0;
            let cut = loop {
                if sent >= length {
                    break false;
                }
                match socket.write(&chunk) {
                    Ok(more) => sent += more,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => break error.kind() != ErrorKind::WouldBlock,
                }
            };
            done.store(true, Ordering::SeqCst);
            (sent, cut)
        });
        Self { over, thread }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// How much was sent, and whether the other side cut it off.
    fn join(self) -> (usize, bool) {
        self.thread.join().unwrap()
    }
}

#[test]
fn a_slow_target_gets_every_byte() {
    // Now and then the kernel lets such a target's sender wait for 2 s.
    let length = if full() { 100_000_000 } else { 24 * MIB };
    let config = if full() {
        ""
    } else {
        "limits.stalled_channel_seconds = 5"
    };
    let Some((node, slow, echo)) = world(digests_slowly(MIB), config) else {
        return;
    };
    let transfers: Vec<_> = ways(&node)
        .into_iter()
        .map(|(transport, ssh)| {
            let nine = Nine::open(&ssh, slow.addr, echo.addr);
            let memory = Memory::watch(&node);
            let mut socket = nine.stuck();
            let busy = Arc::new(AtomicBool::new(true));
            let rounds = Arc::new(AtomicUsize::new(0));
            let others = {
                let (busy, rounds) = (Arc::clone(&busy), Arc::clone(&rounds));
                std::thread::spawn(move || {
                    while busy.load(Ordering::SeqCst) {
                        nine.round();
                        rounds.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(200));
                    }
                })
            };
            let bytes = Random::new(33).bytes(length);
            let expected = format!("{length} {}\n", sha256(&bytes));
            let mut writer = socket.twin();
            std::thread::spawn(move || {
                let _ = writer.write_all(&bytes);
                writer.finish();
            });
            let waiting = std::thread::spawn(move || {
                let mut answer = String::new();
                socket.read_to_string(&mut answer).map(|_| answer)
            });
            (transport, expected, waiting, busy, others, rounds, memory)
        })
        .collect();
    for (transport, expected, waiting, busy, others, rounds, memory) in transfers {
        let answer = waiting.join().unwrap();
        busy.store(false, Ordering::SeqCst);
        others.join().unwrap();
        println!(
            "a target that reads 1 MiB/s, over {transport:?}: {} rounds of the others meanwhile, the node grew by {} MiB",
            rounds.load(Ordering::SeqCst),
            memory.growth_mib()
        );
        assert_eq!(answer.unwrap(), expected, "{transport:?}: {}", node.log());
        // Two sessions at once.
        assert!(memory.growth_mib() < 2 * MEMORY_MIB);
    }
}

fn say(what: &str, transport: Transport, free: f64, held: f64, memory: &Memory) {
    println!(
        "{what}, over {transport:?}: {free:.0} MiB/s before, {held:.0} MiB/s beside it ({:.0} %), the node grew by {} MiB",
        100.0 * held / free,
        memory.growth_mib()
    );
}
