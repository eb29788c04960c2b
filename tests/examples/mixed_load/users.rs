//! Who uses the node all the while.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration_tests::target::{Socket, connect, exchange, free_port};
use integration_tests::{
    Alknet, Background, Ended, HANG, NODE, Random, Run, Ssh, Target, sha256, sha256_of_file,
};

use crate::node::Served;
use crate::tally::Tally;

/// Who comes and goes, one of each kind in turn.
const VISITORS: u64 = 8;
/// Who stays, one of each kind in turn.
const RESIDENTS: u64 = 6;
/// Each of `-L`, `-R` and SOCKS.
const USERS_OF_EACH_FORWARD: u64 = 2;
/// What a visitor sends at most, and what a file has at most.
const MOST_BYTES: u64 = 1 << 20;
const MOST_FILE_BYTES: u64 = 4 << 20;
/// What a resident sends in one go.
const ROUND: usize = 8 << 10;
/// The pause of a resident.
const PACE: Duration = Duration::from_millis(500);

/// All of them.
pub(crate) struct Users {
    threads: Vec<(String, JoinHandle<()>)>,
    forwards: Vec<Background>,
    tally: Arc<Tally>,
    logins: Arc<Logins>,
}

/// Log-ins that went well in each life of the node, of which only the last is
/// compared with its records.
#[derive(Default)]
struct Logins {
    life: AtomicU64,
    count: AtomicU64,
}

impl Logins {
    fn one_more(&self, life: u64) {
        // A log-in of an earlier life that is told late would only ask for less.
        if self.life.fetch_max(life, Ordering::SeqCst) < life {
            self.count.store(0, Ordering::SeqCst);
        }
        if self.life.load(Ordering::SeqCst) == life {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Has them come.
pub(crate) fn arrive(served: &Served, seed: u64, tally: &Arc<Tally>) -> Users {
    let node = served.node();
    let echo = Arc::new(Target::echo());
    let ways = Arc::new(Ways {
        alknet: Alknet::to(node),
        quic: Ssh::to(node),
        tcp: Ssh::over_tcp(node),
    });
    let (local, remote, socks) = (free_port(), free_port(), free_port());
    let to_echo = format!("127.0.0.1:{}", echo.port());
    let forward = ways.alknet.run(&[
        "forward",
        NODE,
        "-L",
        &format!("127.0.0.1:{local}:{to_echo}"),
        "-R",
        &format!("127.0.0.1:{remote}:{to_echo}"),
    ]);
    let listen = format!("127.0.0.1:{socks}");
    let mut forwards = vec![
        Background::spawn(forward),
        Background::spawn(ways.alknet.run(&["socks", NODE, "--listen", &listen])),
    ];
    for one in &mut forwards {
        one.says(&["listening on"]).unwrap();
    }
    let mut users = Users {
        threads: Vec::new(),
        forwards,
        tally: Arc::clone(tally),
        logins: Arc::default(),
    };
    for number in 0..VISITORS {
        let directory = node.setup.folder().join(format!("visitor{number}"));
        fs::create_dir(&directory).unwrap();
        let visitor = Visitor {
            number,
            random: Random::new(seed ^ ((number + 1) << 32)),
            ways: Arc::clone(&ways),
            directory,
            files: node.setup.folder().join("files"),
        };
        let logins = Arc::clone(&users.logins);
        users.add(format!("visitor {number}"), move |tally| {
            visitor.come_and_go(tally, &logins);
        });
    }
    for number in 0..RESIDENTS {
        let random = Random::new(seed ^ ((number + 1) << 40));
        let ways = Arc::clone(&ways);
        let logins = Arc::clone(&users.logins);
        users.add(format!("resident {number}"), move |tally| {
            reside(&ways, number, random, tally, &logins);
        });
    }
    for number in 0..USERS_OF_EACH_FORWARD {
        let ports: [(&'static str, u16, Option<u16>); 3] = [
            ("through forward -L", local, None),
            ("through forward -R", remote, None),
            ("through socks", socks, Some(echo.port())),
        ];
        for (kind, port, target) in ports {
            let random = Random::new(seed ^ ((number + 1) << 48));
            let echo = Arc::clone(&echo);
            users.add(format!("{kind} {number}"), move |tally| {
                go_through(kind, port, target, random, tally);
                drop(echo);
            });
        }
    }
    users
}

impl Users {
    fn add(&mut self, name: String, work: impl FnOnce(&Tally) + Send + 'static) {
        let tally = Arc::clone(&self.tally);
        let thread = std::thread::spawn(move || work(&tally));
        self.threads.push((name, thread));
    }

    /// Has them go, each when it is done with what it does. Gives the log-ins
    /// in the last life of the node.
    pub(crate) fn leave(self) -> u64 {
        self.tally.end();
        let deadline = Instant::now() + HANG;
        for (name, thread) in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            match thread.is_finished() {
                true if thread.join().is_ok() => {}
                true => self.tally.fail(format!("{name} panicked")),
                false => self.tally.fail(format!("{name} hangs")),
            }
        }
        for one in self.forwards {
            one.terminate();
            one.ended();
        }
        self.logins.count.load(Ordering::SeqCst)
    }
}

/// The ways to the node.
struct Ways {
    alknet: Alknet,
    quic: Ssh,
    tcp: Ssh,
}

impl Ways {
    fn command(&self, number: u64, command: &str) -> Run {
        match number % 3 {
            0 => self.alknet.exec(command),
            1 => self.quic.command(command),
            _ => self.tcp.command(command),
        }
    }
}

/// Somebody who logs in, has something done, and goes.
struct Visitor {
    number: u64,
    random: Random,
    ways: Arc<Ways>,
    directory: std::path::PathBuf,
    files: std::path::PathBuf,
}

impl Visitor {
    fn come_and_go(mut self, tally: &Tally, logins: &Logins) {
        loop {
            let pause = 200 + self.random.number() % 1500;
            std::thread::sleep(Duration::from_millis(pause));
            let Some(life) = tally.begins() else { return };
            tally.busy.fetch_add(1, Ordering::SeqCst);
            let kind = self.random.number();
            let (what, outcome) = match self.random.number() % 4 {
                0 => ("alknet cp", self.alknet_cp()),
                1 => ("sftp", self.sftp()),
                _ => self.command(kind),
            };
            tally.busy.fetch_sub(1, Ordering::SeqCst);
            if outcome.is_ok() {
                logins.one_more(life);
            }
            tally.ended(what, life, outcome);
        }
    }

    fn command(&mut self, kind: u64) -> (&'static str, Result<u64, String>) {
        let length = self.random.number() % MOST_BYTES;
        let sent = self.random.bytes(length as usize);
        let run = self.ways.command(kind, "cat").stdin(sent.clone());
        let what = ["alknet exec", "ssh over QUIC", "ssh over TCP"][kind as usize % 3];
        (what, well(run).and_then(|ended| same(&sent, &ended.stdout)))
    }

    /// A file goes there with one name and comes back.
    fn alknet_cp(&mut self) -> Result<u64, String> {
        let (sent, digest, length) = self.file();
        let name = format!("cp{}", self.number);
        let to = format!("{NODE}:{name}");
        let run = |args: &[&str]| {
            let run = self.ways.alknet.run(&[&["cp", "-q"], args].concat());
            well(run.dir(&self.directory))
        };
        run(&[&sent, &to])?;
        arrived(&self.files.join(&name), &digest)?;
        run(&[&to, "back"])?;
        arrived(&self.directory.join("back"), &digest)?;
        Ok(2 * length)
    }

    /// The same with stock sftp.
    fn sftp(&mut self) -> Result<u64, String> {
        let (sent, digest, length) = self.file();
        let name = format!("sftp{}", self.number);
        let ssh = match self.random.number() % 2 {
            0 => &self.ways.quic,
            _ => &self.ways.tcp,
        };
        let batch = format!("put {sent} {name}\nget {name} back\n");
        let run = ssh.program("sftp").args(["-q", "-b", "-", "node"]);
        well(run.stdin(batch).dir(&self.directory))?;
        arrived(&self.files.join(&name), &digest)?;
        arrived(&self.directory.join("back"), &digest)?;
        Ok(2 * length)
    }

    fn file(&mut self) -> (String, String, u64) {
        let length = self.random.number() % MOST_FILE_BYTES;
        let path = self.directory.join("sent");
        let _ = fs::remove_file(self.directory.join("back"));
        let digest = self.random.file(&path, length as usize);
        ("sent".to_owned(), digest, length)
    }
}

/// Somebody who logs in and stays, until the node is killed.
fn reside(ways: &Ways, number: u64, mut random: Random, tally: &Tally, logins: &Logins) {
    while let Some(life) = tally.begins() {
        let mut child = ways
            .command(number, "cat")
            .into_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut rounds = 0;
        let mut talk = || -> Result<(), String> {
            let text = |error: std::io::Error| error.to_string();
            while !tally.is_over() {
                let sent = random.bytes(ROUND);
                stdin.write_all(&sent).map_err(text)?;
                let mut back = vec![0; sent.len()];
                stdout.read_exact(&mut back).map_err(text)?;
                same(&sent, &back)?;
                rounds += 1;
                std::thread::sleep(PACE);
            }
            Ok(())
        };
        tally.busy.fetch_add(1, Ordering::SeqCst);
        let talked = talk();
        tally.busy.fetch_sub(1, Ordering::SeqCst);
        drop(stdin);
        let mut said = String::new();
        let _ = child.stderr.take().unwrap().read_to_string(&mut said);
        let status = child.wait().unwrap();
        let outcome = match talked {
            Ok(()) if status.success() => Ok(rounds * ROUND as u64),
            Ok(()) => Err(format!("{status}: {said}")),
            Err(why) => Err(format!("{why}, {status}: {said}")),
        };
        if rounds > 0 {
            logins.one_more(life);
        }
        tally.ended("sessions that stay", life, outcome);
    }
}

/// Uses a forward, through one connection after the other.
fn go_through(
    what: &'static str,
    port: u16,
    target: Option<u16>,
    mut random: Random,
    tally: &Tally,
) {
    loop {
        std::thread::sleep(Duration::from_millis(300 + random.number() % 1000));
        let Some(life) = tally.begins() else { return };
        let length = random.number() % MOST_BYTES;
        let seed = random.number();
        tally.busy.fetch_add(1, Ordering::SeqCst);
        let socket = connect(([127, 0, 0, 1], port).into()).map_err(|error| error.to_string());
        let socket = socket.and_then(|socket| match target {
            Some(target) => socks(socket, target),
            None => Ok(socket),
        });
        let outcome = socket.and_then(|socket| exchange(socket, seed, length as usize));
        tally.busy.fetch_sub(1, Ordering::SeqCst);
        tally.ended_by_forward(what, life, outcome.map(|()| length));
    }
}

/// Asks for a connection to a port of 127.0.0.1 (RFC 1928).
fn socks(mut socket: Socket, port: u16) -> Result<Socket, String> {
    let text = |error: std::io::Error| format!("SOCKS: {error}");
    let [high, low] = port.to_be_bytes();
    socket.write_all(&[5, 1, 0]).map_err(text)?;
    socket.read_exact(&mut [0; 2]).map_err(text)?;
    socket
        .write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low])
        .map_err(text)?;
    let mut reply = [0; 10];
    socket.read_exact(&mut reply).map_err(text)?;
    match reply[1] {
        0 => Ok(socket),
        other => Err(format!("SOCKS reply {other}")),
    }
}

fn well(run: Run) -> Result<Ended, String> {
    let ended = run.ended();
    match ended.status.success() {
        true => Ok(ended),
        false => Err(format!("{ended}")),
    }
}

fn same(sent: &[u8], back: &[u8]) -> Result<u64, String> {
    match sha256(sent) == sha256(back) {
        true => Ok(sent.len() as u64),
        false if back.len() == sent.len() => Err("other bytes came back than were sent".to_owned()),
        false => Err(format!("{} of {} bytes came back", back.len(), sent.len())),
    }
}

fn arrived(path: &Path, digest: &str) -> Result<(), String> {
    match path.exists() && sha256_of_file(path) == digest {
        true => Ok(()),
        false => Err(format!("{} has other bytes than were sent", path.display())),
    }
}
