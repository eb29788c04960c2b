//! Twenty swaps between two versions of the SSH plugin under fifty sessions of
//! stock OpenSSH, while others come ten a second: nobody notices.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration_tests::swapping::{SSH, install, serving, status, swap, variant};
use integration_tests::{
    Crowd, HANG, Random, Setup, Ssh, TestNode, Transport, artifacts, eventually, peer_of,
    proportional_kib, requires,
};
use serde_json::Value;

const SESSIONS: usize = 50;
const WITH_FORWARDS: usize = 10;
const SWAPS: u64 = 20;
/// Between two newcomers.
const PACE: Duration = Duration::from_millis(100);
/// So many newcomers come between two swaps.
const BETWEEN_SWAPS: usize = 15;
/// No more newcomers come while so many are there: this machine is too slow.
const MOST_AT_ONCE: usize = 40;

#[test]
fn twenty_swaps_under_fifty_sessions_cost_nobody_anything() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    Crowd::allow(&setup);
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 64\n");
    // The generation of each connection.
    setup.replace("\"info\"", "\"info,alknet_node=debug\"");
    let node = setup.start();
    let pid = node.pid();
    let mut crowd = Crowd::gather(&node, SESSIONS, WITH_FORWARDS);
    let newcomers = Newcomers::begin(&node);
    newcomers.go_on();
    let before = proportional_kib(pid);
    println!("{SESSIONS} sessions, {before} KiB (PSS)");
    let mut last = before;
    for round in 1..=SWAPS {
        install(&node.setup, &variant(&artifacts().plugin, round % 2), SSH);
        let ended = swap(&node.setup);
        assert_eq!(ended.code(), 0, "{ended}");
        newcomers.serving.store(round + 1, Ordering::SeqCst);
        // Each version has a session that outlives it.
        crowd.join();
        crowd.goes_on();
        newcomers.go_on();
        let now = proportional_kib(pid);
        println!(
            "swap {round}: {now} KiB (PSS), {:+} KiB, {} newcomers so far",
            now as i64 - last as i64,
            newcomers.count()
        );
        last = now;
    }
    println!(
        "{} KiB a swap",
        (last.saturating_sub(before)) / SWAPS as usize
    );

    let now = status(&node.setup);
    let by_version = |status: &Value| -> BTreeMap<u64, u64> {
        let all = (1..=SWAPS + 1).map(|id| (id, sessions_on(status, id)));
        all.filter(|(_, sessions)| *sessions > 0).collect()
    };
    println!("sessions by generation: {:?}", by_version(&now));
    assert_eq!(serving(&node.setup, "ssh")["id"], SWAPS + 1, "{now:#}");
    assert!(sessions_on(&now, 1) >= SESSIONS as u64, "{now:#}");
    // The start's library and the two that took turns.
    assert_eq!(now["node"]["libraries"], 3, "{now:#}");

    let (newcomers, took) = newcomers.end();
    let rate = newcomers.len() as f64 / took.as_secs_f64();
    println!("{} newcomers, {rate:.1} a second", newcomers.len());
    // The log is written by a thread of its own.
    let connections = newcomers.len() + crowd.members().len();
    let log = eventually("every connection is in the log", || {
        let log = node.log();
        let accepted = log.matches("connection accepted").count();
        let opened = log.matches("connection opened").count();
        (accepted.min(opened) >= connections).then_some(log)
    });
    let mut landed = Landed::read(&log);
    let mut on = BTreeMap::<u64, usize>::new();
    for newcomer in &newcomers {
        let generation = landed.first(newcomer.transport, newcomer.addr);
        let possible = newcomer.earliest..=newcomer.latest;
        assert!(possible.contains(&generation), "{newcomer:?}: {generation}");
        *on.entry(generation).or_default() += 1;
    }
    println!("newcomers by generation: {on:?}");
    for (number, member) in crowd.members().iter().enumerate() {
        // Those that came later had a version each.
        let expected = (number + 2).saturating_sub(SESSIONS).max(1);
        let generation = landed.first(member.transport, member.addr);
        assert_eq!(generation, expected as u64, "session {number}");
        *on.entry(generation).or_default() += 1;
    }
    // The sessions themselves say the same.
    assert_eq!(opened(&log), on);

    let all = crowd.len();
    let rounds = crowd.disperse();
    println!("{all} sessions and forwards had {rounds} answers");
    eventually("nobody is on old versions", || {
        let now = status(&node.setup);
        let versions = now["generations"].as_array().unwrap().len();
        println!("{versions} versions, sessions: {:?}", by_version(&now));
        (versions == 1 && by_version(&now).is_empty()).then_some(())
    });
    println!("{} KiB (PSS) in the end", proportional_kib(pid));
    node.logged(&["connection on a replaced version has ended", "generation=1"]);
    assert!(node.stop().status.success());
}

fn sessions_on(status: &Value, id: u64) -> u64 {
    let generations = status["generations"].as_array().unwrap();
    let one = generations.iter().find(|one| one["id"] == id);
    one.and_then(|one| one["sessions"].as_u64()).unwrap_or(0)
}

/// One that came, ran a command with checked bytes, and went.
#[derive(Clone, Copy, Debug)]
struct Newcomer {
    transport: Transport,
    addr: SocketAddr,
    /// The version that served for certain before it came.
    earliest: u64,
    /// The version that may have served when it had gone.
    latest: u64,
    gone: Instant,
}

/// Those that come ten a second.
struct Newcomers {
    serving: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<Newcomer>>>,
    began: Instant,
    thread: JoinHandle<()>,
}

impl Newcomers {
    fn begin(node: &TestNode) -> Self {
        let serving = Arc::new(AtomicU64::new(1));
        let stop = Arc::new(AtomicBool::new(false));
        let came = Arc::<Mutex<Vec<Newcomer>>>::default();
        let ways = Transport::ALL.map(|way| (way, Ssh::over(way, node, &node.setup.key)));
        let ways = Arc::new(ways);
        let (known, over, list) = (Arc::clone(&serving), Arc::clone(&stop), Arc::clone(&came));
        let thread = std::thread::spawn(move || {
            let there = Arc::new(AtomicUsize::new(0));
            let mut threads = Vec::new();
            let mut next = Instant::now();
            for number in 0.. {
                next += PACE;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                let deadline = Instant::now() + HANG;
                while there.load(Ordering::SeqCst) >= MOST_AT_ONCE {
                    assert!(Instant::now() < deadline, "newcomers hang");
                    std::thread::sleep(PACE);
                    next = Instant::now();
                }
                if over.load(Ordering::SeqCst) {
                    break;
                }
                there.fetch_add(1, Ordering::SeqCst);
                let (ways, there) = (Arc::clone(&ways), Arc::clone(&there));
                let (known, list) = (Arc::clone(&known), Arc::clone(&list));
                threads.push(std::thread::spawn(move || {
                    let (transport, ssh) = &ways[number % ways.len()];
                    let newcomer = visit(*transport, ssh, number as u64, &known);
                    list.lock().unwrap().push(newcomer);
                    there.fetch_sub(1, Ordering::SeqCst);
                }));
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
        Self {
            serving,
            stop,
            came,
            began: Instant::now(),
            thread,
        }
    }

    /// How many have come and gone.
    fn count(&self) -> usize {
        assert!(!self.thread.is_finished(), "a newcomer had to complain");
        self.came.lock().unwrap().len()
    }

    /// Waits until some more have come and gone.
    fn go_on(&self) {
        let wanted = self.count() + BETWEEN_SWAPS;
        eventually("newcomers go on coming", || {
            (self.count() >= wanted).then_some(())
        });
    }

    /// No more come. All that came, and how long that took.
    fn end(self) -> (Vec<Newcomer>, Duration) {
        let took = self.began.elapsed();
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        let mut came = self.came.lock().unwrap().clone();
        came.sort_by_key(|newcomer| newcomer.gone);
        (came, took)
    }
}

fn visit(transport: Transport, ssh: &Ssh, seed: u64, serving: &AtomicU64) -> Newcomer {
    let earliest = serving.load(Ordering::SeqCst);
    let sent = Random::new(seed).bytes(10_000);
    let visit = ssh.command("echo $SSH_CONNECTION && exec cat");
    let ended = visit.stdin(sent.clone()).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let end = ended.stdout.iter().position(|byte| *byte == b'\n').unwrap();
    let (line, back) = ended.stdout.split_at(end);
    assert!(back[1..] == sent, "other bytes came back than were sent");
    Newcomer {
        transport,
        addr: peer_of(&String::from_utf8_lossy(line)).unwrap(),
        earliest,
        // One swap may be under way.
        latest: serving.load(Ordering::SeqCst) + 1,
        gone: Instant::now(),
    }
}

/// The generations that connections landed on, by the node's log, in order for
/// each address: it may come again once those that had it before have gone.
struct Landed(BTreeMap<(Transport, SocketAddr), VecDeque<u64>>);

impl Landed {
    fn read(log: &str) -> Self {
        let mut landed = Self(BTreeMap::new());
        for line in log.lines().filter(|l| l.contains("connection accepted")) {
            let transport = match field(line, "transport=") {
                "\"tcp\"" => Transport::Tcp,
                _ => Transport::Quic,
            };
            let addr = field(line, "remote_addr=").parse().unwrap();
            let generation = field(line, " generation=").parse().unwrap();
            let of = landed.0.entry((transport, addr)).or_default();
            of.push_back(generation);
        }
        landed
    }

    /// Takes the first that is left for an address.
    fn first(&mut self, transport: Transport, addr: SocketAddr) -> u64 {
        let of = self.0.get_mut(&(transport, addr));
        of.and_then(VecDeque::pop_front).unwrap()
    }
}

/// How many sessions say that they were opened on each generation.
fn opened(log: &str) -> BTreeMap<u64, usize> {
    let mut on = BTreeMap::new();
    for line in log.lines().filter(|l| l.contains("connection opened")) {
        let generation = field(line, " generation=").parse().unwrap();
        *on.entry(generation).or_default() += 1;
    }
    on
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split_once(name).map(|(_, rest)| rest);
    let value = found.and_then(|rest| rest.split_whitespace().next());
    value.unwrap_or_else(|| panic!("no {name} in {line}"))
}
