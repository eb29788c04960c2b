//! Many OpenSSH clients at once whose data is checked all the time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::node::Tail;
use crate::target::{answers, connect, exchange, free_port};
use crate::{HANG, Random, Setup, Ssh, Target, TestNode, Transport, eventually, sha256};

/// The number of bytes that are sent through a session in one go and must come
/// back.
const THROUGH_SESSION: usize = 32 << 10;
/// The same for a connection of a forward that stays open.
const THROUGH_FORWARD: usize = 16 << 10;
/// The same for a connection of a forward that is made anew each time.
const THROUGH_NEW: usize = 4 << 10;
/// The pause between two rounds.
const PACE: Duration = Duration::from_millis(200);

/// Stock OpenSSH clients that send random bytes to their node and compare
/// what comes back, all the time. Two of three come over QUIC, the others over
/// TCP.
pub struct Crowd {
    sessions: Vec<Session>,
    workers: Vec<Worker>,
    stop: Arc<AtomicBool>,
    target: Target,
    quic: Ssh,
    tcp: Ssh,
}

/// One client of a crowd.
#[derive(Clone, Debug)]
pub struct Member {
    /// The transport it uses.
    pub transport: Transport,
    /// Its address, as the node sees it.
    pub addr: SocketAddr,
}

impl Crowd {
    /// Lets a crowd in.
    pub fn allow(setup: &Setup) {
        setup.listen_on_tcp();
        setup.grant(&["ssh:forward:127.0.0.1:*", "ssh:listen:*:*"]);
    }

    /// So many sessions, some of which have a local and a remote forward each.
    pub fn gather(node: &TestNode, sessions: usize, with_forwards: usize) -> Self {
        let mut crowd = Self {
            sessions: Vec::new(),
            workers: Vec::new(),
            stop: Arc::default(),
            target: Target::echo(),
            quic: Ssh::to(node),
            tcp: Ssh::over_tcp(node),
        };
        for number in 0..sessions {
            crowd.begin(number < with_forwards);
        }
        for number in 0..sessions {
            crowd.arrived(number);
        }
        crowd.goes_on();
        crowd
    }

    /// One more session, once it is there.
    pub fn join(&mut self) {
        self.begin(false);
        self.arrived(self.sessions.len() - 1);
    }

    /// All that came so far.
    pub fn members(&self) -> Vec<Member> {
        let sessions = self.sessions.iter();
        sessions.filter_map(|s| s.member.clone()).collect()
    }

    /// How many sessions and forwards there are.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether nobody came.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Waits until each session and each forward has had bytes back that it
    /// sent after this call.
    pub fn goes_on(&self) {
        let so_far = |worker: &Worker| worker.rounds.load(Ordering::SeqCst);
        // What was under way does not count.
        let wanted: Vec<u64> = self.workers.iter().map(|w| so_far(w) + 2).collect();
        for (worker, wanted) in self.workers.iter().zip(wanted) {
            eventually(&format!("{} goes on", worker.name), || {
                self.assert_unharmed();
                (so_far(worker) >= wanted).then_some(())
            });
        }
    }

    /// Ends all sessions, which have nothing to complain of. Gives how many
    /// times bytes went through, and came back whole.
    pub fn disperse(mut self) -> u64 {
        self.goes_on();
        self.stop.store(true, Ordering::SeqCst);
        let mut rounds = 0;
        for mut worker in self.workers.drain(..) {
            worker.thread.take().unwrap().join().unwrap();
            let failure = worker.failure.lock().unwrap().take();
            assert_eq!(failure, None, "{}", worker.name);
            rounds += worker.rounds.load(Ordering::SeqCst);
        }
        for mut session in self.sessions.drain(..) {
            let status = eventually(&format!("{} ends", session.name), || {
                session.child.try_wait().unwrap()
            });
            let said = session.stderr.end();
            assert!(status.success(), "{}: {status}\n{said}", session.name);
        }
        rounds
    }

    fn begin(&mut self, forwards: bool) {
        let number = self.sessions.len();
        let (transport, ssh) = match number % 3 {
            2 => (Transport::Tcp, &self.tcp),
            _ => (Transport::Quic, &self.quic),
        };
        let run = ssh.program("ssh");
        let mut run = run.args(["-o", "ExitOnForwardFailure=yes"]);
        let mut ports = Vec::new();
        if forwards {
            for option in ["-L", "-R"] {
                let port = free_port();
                let target = self.target.port();
                let forward = format!("127.0.0.1:{port}:127.0.0.1:{target}");
                run = run.args([option, &forward]);
                ports.push((option, port));
            }
        }
        let mut child = run
            .arg("node")
            .arg("echo $SSH_CONNECTION && exec cat")
            .into_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.sessions.push(Session {
            name: format!("session {number} over {transport:?}"),
            transport,
            pipes: Some((child.stdin.take().unwrap(), child.stdout.take().unwrap())),
            stderr: Tail::follow(child.stderr.take().unwrap()),
            child,
            ports,
            member: None,
        });
    }

    fn arrived(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        let (stdin, mut stdout) = session.pipes.take().unwrap();
        let line = first_line(&mut stdout);
        let Some(addr) = peer_of(&line) else {
            panic!("{}: {line:?}\n{}", session.name, session.stderr.end());
        };
        let transport = session.transport;
        session.member = Some(Member { transport, addr });
        let name = session.name.clone();
        let ports = std::mem::take(&mut session.ports);
        let talk = Talk::new(stdin, stdout, number as u64);
        self.work(name.clone(), move |stop, rounds| talk.run(stop, rounds));
        for (option, port) in ports {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            let name = format!("{option} of {name}");
            eventually(&format!("{name} is there"), || answers(addr).then_some(()));
            let seed = u64::from(port);
            self.work(name, move |stop, rounds| forward(addr, seed, stop, rounds));
        }
    }

    fn work(
        &mut self,
        name: String,
        work: impl FnOnce(&AtomicBool, &AtomicU64) -> Result<(), String> + Send + 'static,
    ) {
        let rounds = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let (stop, count, fault) = (
            Arc::clone(&self.stop),
            Arc::clone(&rounds),
            Arc::clone(&failure),
        );
        let thread = std::thread::spawn(move || {
            if let Err(why) = work(&stop, &count) {
                *fault.lock().unwrap() = Some(why);
            }
        });
        self.workers.push(Worker {
            name,
            rounds,
            failure,
            thread: Some(thread),
        });
    }

    fn assert_unharmed(&self) {
        for worker in &self.workers {
            if let Some(why) = &*worker.failure.lock().unwrap() {
                let sessions = self.sessions.iter();
                let said: String = sessions.map(|session| session.stderr.text()).collect();
                panic!("{}: {why}\n{said}", worker.name);
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for session in &mut self.sessions {
            let _ = session.child.kill();
            let _ = session.child.wait();
        }
    }
}

/// The address in what `echo $SSH_CONNECTION` says.
pub fn peer_of(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let ip = words.next()?.parse().ok()?;
    Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
}

struct Session {
    name: String,
    transport: Transport,
    child: Child,
    /// The pipes of its command, until somebody uses them.
    pipes: Option<(ChildStdin, ChildStdout)>,
    stderr: Tail,
    /// The ports of its forwards, until somebody uses them.
    ports: Vec<(&'static str, u16)>,
    member: Option<Member>,
}

/// A thread that goes on and on.
struct Worker {
    name: String,
    rounds: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// The use of one session.
struct Talk {
    stdin: ChildStdin,
    stdout: ChildStdout,
    random: Random,
}

impl Talk {
    fn new(stdin: ChildStdin, stdout: ChildStdout, seed: u64) -> Self {
        Self {
            stdin,
            stdout,
            random: Random::new(seed),
        }
    }

    fn run(mut self, stop: &AtomicBool, rounds: &AtomicU64) -> Result<(), String> {
        while !stop.load(Ordering::SeqCst) {
            let sent = self.random.bytes(THROUGH_SESSION);
            self.stdin.write_all(&sent).map_err(text)?;
            returned(&mut self.stdout, &sent)?;
            rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(PACE);
        }
        drop(self.stdin);
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).map_err(text)?;
        match rest.len() {
            0 => Ok(()),
            more => Err(format!("{more} bytes came back that nobody sent")),
        }
    }
}

/// Uses a forward: through one connection that stays, and others that do not.
fn forward(
    addr: SocketAddr,
    seed: u64,
    stop: &AtomicBool,
    rounds: &AtomicU64,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut stays = TcpStream::connect(addr).map_err(text)?;
    stays.set_read_timeout(Some(HANG)).map_err(text)?;
    while !stop.load(Ordering::SeqCst) {
        let sent = random.bytes(THROUGH_FORWARD);
        stays.write_all(&sent).map_err(text)?;
        returned(&mut stays, &sent)?;
        exchange(connect(addr).map_err(text)?, seed, THROUGH_NEW)?;
        rounds.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(2 * PACE);
    }
    Ok(())
}

fn returned(from: &mut impl Read, sent: &[u8]) -> Result<(), String> {
    let mut back = vec![0; sent.len()];
    from.read_exact(&mut back).map_err(text)?;
    match sha256(&back) == sha256(sent) {
        true => Ok(()),
        false => Err("other bytes came back than were sent".to_owned()),
    }
}

fn first_line(from: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).is_ok_and(|read| read == 1) && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8_lossy(&line).into_owned()
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}
