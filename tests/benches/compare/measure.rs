//! One measurement of each kind, on one way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::accounting::Taken;
use crate::load::{Load, echo_once, pull, pull_until, push, unread};
use crate::peers::{Client, Peers, Way, ping};
use crate::statistics::percentile;

/// What a measurement gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// By name.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// Single values, for plots.
    pub(crate) each: Vec<f64>,
}

/// How much is done for one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Bytes of a bulk transfer.
    pub(crate) bulk: u64,
    /// Bytes of all streams of the fairness test together.
    pub(crate) streams: u64,
    /// Echoes of one byte.
    pub(crate) pings: usize,
    /// New connections through a forward.
    pub(crate) opens: usize,
    /// Log-ins one after the other.
    pub(crate) log_ins: usize,
    /// Log-ins, ten at a time.
    pub(crate) crowd: usize,
    /// Idle sessions.
    pub(crate) idle: usize,
}

/// The figures' names.
pub(crate) const CPU: &str = "CPU s/GiB";
/// Rates of transfers.
pub(crate) const RATE: &str = "MiB/s";
/// Medians of times.
pub(crate) const P50: &str = "p50 ms";
/// The times of one in a hundred.
pub(crate) const P99: &str = "p99 ms";
/// Processor time of a server for one log-in.
pub(crate) const SERVER: &str = "server CPU ms";
/// The slowest of several streams beside the fastest.
pub(crate) const UNFAIR: &str = "slowest/fastest";
/// The rate of a download beside that of the same without an unread stream.
pub(crate) const OF_FREE: &str = "of free";
/// Sessions a second.
pub(crate) const SESSIONS: &str = "sessions/s";
/// Memory of a session.
pub(crate) const SESSION: &str = "KiB/session";
/// Of what sessions took.
pub(crate) const GIVEN_BACK: &str = "given back";

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;
const STREAMS: u64 = 50;
/// What is left running for a while before it is measured.
const PAST_THE_START: Duration = Duration::from_millis(700);

/// Peers on the loopback network, and what they are used for.
pub(crate) struct Bench<'p> {
    pub(crate) peers: &'p Peers,
    pub(crate) load: &'p Load,
    pub(crate) effort: Effort,
}

type Measured = Result<Sample, String>;

fn sample<const N: usize>(figures: [(&'static str, f64); N]) -> Sample {
    Sample {
        figures: figures.into(),
        each: Vec::new(),
    }
}

fn bulk(taken: &Taken, length: u64) -> Sample {
    let length = length as f64;
    sample([
        (RATE, length / MIB / taken.wall),
        (CPU, (taken.server + taken.clients) * GIB / length),
        ("server s/GiB", taken.server * GIB / length),
        ("client s/GiB", taken.clients * GIB / length),
    ])
}

impl Bench<'_> {
    /// A log-in and a short transfer that do not count.
    pub(crate) fn settle(&self, way: Way) -> Result<(), String> {
        self.log_in_once(way)?;
        let forward = self.peers.forward(way, self.load.port(), None)?;
        pull(forward.port, self.effort.bulk / 8)
    }

    /// A command's output, to the client.
    pub(crate) fn exec_down(&self, way: Way) -> Measured {
        let length = self.effort.bulk;
        let clock = self.peers.clock(way);
        let command = format!("head -c {length} /dev/zero");
        let mut command = self.peers.exec(way, &command, true);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Client::spawn(self.peers, command)?.succeeds()?;
        Ok(bulk(&clock.read(), length))
    }

    /// A command's input, from the client.
    pub(crate) fn exec_up(&self, way: Way) -> Measured {
        let length = self.effort.bulk;
        let mut source = Source::of(Some(length))?;
        let clock = self.peers.clock(way);
        let mut command = self.peers.exec(way, "cat >/dev/null", true);
        command.stdin(source.pipe()?).stdout(Stdio::null());
        let client = Client::spawn(self.peers, command)?;
        client.succeeds()?;
        Ok(bulk(&clock.read(), length))
    }

    /// A download through a local forward.
    pub(crate) fn forward_down(&self, way: Way) -> Measured {
        self.forwarded(way, pull)
    }

    /// An upload through a local forward.
    pub(crate) fn forward_up(&self, way: Way) -> Measured {
        self.forwarded(way, push)
    }

    fn forwarded(&self, way: Way, transfer: fn(u16, u64) -> Result<(), String>) -> Measured {
        let length = self.effort.bulk;
        let forward = self.peers.forward(way, self.load.port(), None)?;
        let clock = self.peers.clock(way);
        transfer(forward.port, length)?;
        Ok(bulk(&clock.read(), length))
    }

    /// A byte to a command and back, in an idle session.
    pub(crate) fn echo(&self, way: Way) -> Measured {
        let command = self.peers.exec(way, "cat", false);
        let mut client = Client::start(self.peers, command)?;
        let mut pipes = client.pipes()?;
        ping(&mut pipes, 100)?;
        Ok(times(ping(&mut pipes, self.effort.pings)?))
    }

    /// The same while the same connection downloads as fast as it can: through
    /// a forward with stock ssh, by a second command with our client, whose
    /// commands share a connection.
    pub(crate) fn echo_loaded(&self, way: Way) -> Measured {
        let bytes = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        let is_over = || over.load(Ordering::Relaxed);
        let sharing = (way == Way::Native).then(|| self.peers.sharing());
        let (mut client, port) = match &sharing {
            Some(user) => {
                let run = user.exec("cat");
                (
                    Client::start(self.peers, self.peers.client(run, true))?,
                    None,
                )
            }
            None => {
                let forward = self.peers.forward(way, self.load.port(), Some("cat"))?;
                (forward.client, Some(forward.port))
            }
        };
        let mut pipes = client.pipes()?;
        ping(&mut pipes, 50)?;
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| match (&sharing, port) {
                (Some(user), _) => self.read_until(user.exec("cat /dev/zero"), &bytes, is_over),
                (None, Some(port)) => pull_until(port, &bytes, is_over),
                (None, None) => Err("nothing to download from".to_owned()),
            });
            std::thread::sleep(PAST_THE_START);
            let (before, started) = (bytes.load(Ordering::Relaxed), Instant::now());
            let pinged = ping(&mut pipes, self.effort.pings / 4);
            let during = bytes.load(Ordering::Relaxed) - before;
            let rate = during as f64 / MIB / started.elapsed().as_secs_f64();
            over.store(true, Ordering::Relaxed);
            loading.join().map_err(|_| "the download panicked")??;
            let mut sample = times(pinged?);
            sample.figures.insert(RATE, rate);
            Ok(sample)
        })
    }

    fn read_until(
        &self,
        run: integration_tests::Run,
        bytes: &AtomicU64,
        is_over: impl Fn() -> bool,
    ) -> Result<(), String> {
        let mut client = Client::start(self.peers, self.peers.client(run, true))?;
        let (_stdin, mut stdout) = client.pipes()?;
        let mut buffer = vec![0; 256 << 10];
        while !is_over() {
            match stdout.read(&mut buffer) {
                Ok(0) => return Err("the download ended".to_owned()),
                Ok(more) => bytes.fetch_add(more as u64, Ordering::Relaxed),
                Err(error) => return Err(error.to_string()),
            };
        }
        Ok(())
    }

    /// A new connection through a forward that stands.
    pub(crate) fn new_forward(&self, way: Way) -> Measured {
        let forward = self.peers.forward(way, self.load.port(), None)?;
        for _ in 0..10 {
            echo_once(forward.port)?;
        }
        let each: Result<Vec<_>, _> = (0..self.effort.opens)
            .map(|_| echo_once(forward.port))
            .collect();
        Ok(times(each?))
    }

    /// Fifty downloads at once through one forward.
    pub(crate) fn streams(&self, way: Way) -> Measured {
        let each = self.effort.streams / STREAMS;
        let forward = self.peers.forward(way, self.load.port(), None)?;
        let done = Mutex::new(Vec::new());
        let clock = self.peers.clock(way);
        std::thread::scope(|scope| {
            let one = || {
                let started = Instant::now();
                pull(forward.port, each)?;
                done.lock().unwrap().push(started.elapsed().as_secs_f64());
                Ok::<_, String>(())
            };
            let all: Vec<_> = (0..STREAMS).map(|_| scope.spawn(one)).collect();
            all.into_iter()
                .try_for_each(|it| it.join().map_err(|_| "panicked".to_owned())?)
        })?;
        let mut sample = bulk(&clock.read(), each * STREAMS);
        sample.each = done.into_inner().unwrap();
        sample.each.sort_by(f64::total_cmp);
        let slowest = sample.each.last().copied().unwrap_or_default();
        let fastest = sample.each.first().copied().unwrap_or_default();
        sample.figures.insert(UNFAIR, slowest / fastest);
        Ok(sample)
    }

    /// A download while another stream of the connection is not read, beside
    /// one while there is no other.
    pub(crate) fn unread(&self, way: Way) -> Measured {
        let length = self.effort.bulk / 2;
        let forward = self.peers.forward(way, self.load.port(), None)?;
        let rate = || {
            let started = Instant::now();
            pull(forward.port, length)?;
            Ok::<_, String>(length as f64 / MIB / started.elapsed().as_secs_f64())
        };
        rate()?;
        let (mut free, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            free.push(rate()?);
            let held = unread(forward.port)?;
            std::thread::sleep(PAST_THE_START);
            beside.push(rate()?);
            drop(held);
            std::thread::sleep(PAST_THE_START);
        }
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        Ok(sample([
            (OF_FREE, mean(&beside) / mean(&free)),
            (RATE, mean(&beside)),
        ]))
    }

    /// Log-ins one after the other, each for `true`.
    pub(crate) fn log_in(&self, way: Way) -> Measured {
        self.log_in_once(way)?;
        let clock = self.peers.clock(way);
        let each: Result<Vec<_>, _> = (0..self.effort.log_ins)
            .map(|_| self.log_in_once(way))
            .collect();
        let each = each?;
        // A child that has just ended is counted when it was waited for.
        std::thread::sleep(Duration::from_millis(100));
        let server = clock.read().server * 1000.0 / each.len() as f64;
        let mut sample = times(each);
        sample.figures.insert(SERVER, server);
        Ok(sample)
    }

    fn log_in_once(&self, way: Way) -> Result<f64, String> {
        let mut command = self.peers.exec(way, "true", false);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status().map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(started.elapsed().as_secs_f64()),
            false => Err(format!("a log-in ended with {status}")),
        }
    }

    /// Log-ins, ten at a time.
    pub(crate) fn crowd(&self, way: Way) -> Measured {
        self.log_in_once(way)?;
        let left = AtomicU64::new(self.effort.crowd as u64);
        let started = Instant::now();
        let take = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        std::thread::scope(|scope| {
            let one = || {
                while take().is_ok() {
                    self.log_in_once(way)?;
                }
                Ok::<_, String>(())
            };
            let all: Vec<_> = (0..10).map(|_| scope.spawn(one)).collect();
            all.into_iter()
                .try_for_each(|it| it.join().map_err(|_| "panicked".to_owned())?)
        })?;
        let rate = self.effort.crowd as f64 / started.elapsed().as_secs_f64();
        Ok(sample([(SESSIONS, rate)]))
    }

    /// The server's memory with many idle sessions of stock ssh, and after
    /// them. Values on the way, for a plot: sessions and MiB in turn.
    pub(crate) fn memory(&self, way: Way) -> Measured {
        // sshd has a process or two for each; they are all alike.
        let sessions = match way {
            Way::Sshd => self.effort.idle.min(50),
            _ => self.effort.idle,
        };
        self.log_in_once(way)?;
        std::thread::sleep(Duration::from_secs(1));
        let server = self.peers.server(way);
        let before = server.pss_kib();
        let mut each = vec![0.0, before / 1024.0];
        let mut there = Vec::new();
        while there.len() < sessions {
            let some = (0..4.min(sessions - there.len())).map(|_| self.idle(way));
            for session in some.collect::<Vec<_>>() {
                let mut session = session?;
                session.is_there()?;
                there.push(session);
            }
            if there.len() % (sessions / 10).max(1) < 4 {
                each.extend([there.len() as f64, server.pss_kib() / 1024.0]);
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        let with = server.pss_kib();
        self.peers.clear();
        drop(there);
        std::thread::sleep(Duration::from_secs(5));
        let after = server.pss_kib();
        let mut sample = sample([
            (SESSION, (with - before) / sessions as f64),
            (GIVEN_BACK, (with - after) / (with - before)),
            ("before MiB", before / 1024.0),
            ("with MiB", with / 1024.0),
            ("5 s after MiB", after / 1024.0),
        ]);
        sample.each = each;
        Ok(sample)
    }

    fn idle(&self, way: Way) -> Result<Idle, String> {
        let run = self.peers.openssh(way, "ssh").ok_or("stock ssh only")?;
        let says = [
            "-o",
            "PermitLocalCommand=yes",
            "-o",
            "LocalCommand=echo ready",
        ];
        let run = run.args(["-N"]).args(says).arg("node");
        Ok(Idle(Client::start(
            self.peers,
            self.peers.client(run, true),
        )?))
    }
}

/// A session that does nothing; killed at once when dropped.
struct Idle(Client);

impl Idle {
    fn is_there(&mut self) -> Result<(), String> {
        let (stdin, stdout) = self.0.pipes()?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        drop(stdin);
        match read {
            Ok(1..) => Ok(()),
            _ => Err("an idle session ended".to_owned()),
        }
    }
}

/// What arrives in so long at the other end of a long path, from the first
/// byte on.
///
/// # Errors
/// When nothing does.
pub(crate) fn timed(peers: &Peers, way: Way, up: bool, long: Duration) -> Measured {
    let bytes = if up {
        timed_up(peers, way, long)?
    } else {
        timed_down(peers, way, long)?
    };
    peers.clear();
    if bytes == 0 {
        return Err("nothing came".to_owned());
    }
    Ok(sample([(RATE, bytes as f64 / MIB / long.as_secs_f64())]))
}

fn timed_down(peers: &Peers, way: Way, long: Duration) -> Result<u64, String> {
    let command = peers.exec(way, "cat /dev/zero", true);
    let mut client = Client::start(peers, command)?;
    let (_stdin, mut stdout) = client.pipes()?;
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    let mut started = None;
    loop {
        let read = stdout
            .read(&mut buffer)
            .map_err(|error| error.to_string())?;
        let since = started.get_or_insert_with(Instant::now).elapsed();
        if since >= long {
            return Ok(bytes);
        }
        if read == 0 {
            return Err(format!("the download ended: {}", peers.errors()));
        }
        bytes += read as u64;
    }
}

fn timed_up(peers: &Peers, way: Way, long: Duration) -> Result<u64, String> {
    let command = format!("timeout {} cat | wc -c", long.as_secs_f64());
    let mut source = Source::of(None)?;
    let mut command = peers.exec(way, &command, true);
    command.stdin(source.pipe()?).stdout(Stdio::piped());
    let mut client = Client::spawn(peers, command)?;
    let mut line = String::new();
    let stdout = client.output().ok_or("no pipe")?;
    let read = BufReader::new(stdout).read_line(&mut line);
    read.map_err(|error| error.to_string())?;
    line.trim()
        .parse()
        .map_err(|_| format!("the upload ended: {}", peers.errors()))
}

/// A program that writes zeros into a pipe.
struct Source(std::process::Child);

impl Source {
    fn of(length: Option<u64>) -> Result<Self, String> {
        let mut command = match length {
            Some(length) => {
                let mut command = Command::new("head");
                command.args(["-c", &length.to_string()]);
                command
            }
            None => Command::new("cat"),
        };
        let zeros = File::open("/dev/zero").map_err(|error| error.to_string())?;
        command.stdin(zeros).stdout(Stdio::piped());
        command.spawn().map(Self).map_err(|error| error.to_string())
    }

    fn pipe(&mut self) -> Result<Stdio, String> {
        self.0
            .stdout
            .take()
            .map(Stdio::from)
            .ok_or_else(|| "no pipe".to_owned())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From seconds.
fn times(each: Vec<f64>) -> Sample {
    let each: Vec<f64> = each.into_iter().map(|it| it * 1000.0).collect();
    let mut sample = sample([
        (P50, percentile(&each, 50.0)),
        (P99, percentile(&each, 99.0)),
    ]);
    sample.each = each;
    sample
}
