//! The node under load, and everything that is done to it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration_tests::swapping::{SSH, bad_libraries, install, plugins, status, swap, variant};
use integration_tests::target::free_port;
use integration_tests::{
    Alknet, Disk, Ended, HANG, NODE, Peers, Run, Setup, Ssh, TestKey, TestNode, artifacts,
    eventually,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::plan::Action;
use crate::records;
use crate::samples::Samples;
use crate::tally::Tally;

/// Files that are half written, or not meant: what node.toml or peers.toml is
/// for a moment.
const BAD_FILES: [(&str, Spoiled); 5] = [
    ("node.toml", Spoiled::Empty),
    ("peers.toml", Spoiled::Empty),
    ("node.toml", Spoiled::Cut),
    ("node.toml", Spoiled::Wrong),
    ("peers.toml", Spoiled::Wrong),
];

#[derive(Clone, Copy)]
enum Spoiled {
    Empty,
    Cut,
    Wrong,
}

/// The node, and all that is done to it.
pub(crate) struct Served {
    /// None only while it is started again.
    node: Option<TestNode>,
    disk: Disk,
    tally: Arc<Tally>,
    user: Alknet,
    bad: Vec<(&'static str, Vec<u8>)>,
    wrapper: Vec<String>,
    reads: Arc<AtomicBool>,
    /// Keeps the pipe open between one life and the next.
    _pipe: File,
    records: PathBuf,
    /// How long the records were when this life began.
    records_before: u64,
    /// Of this life: versions swapped, and log-ins of [`Self::lets_somebody_in`].
    swaps: u64,
    logins: u64,
    peers: u64,
    marks: u64,
}

impl Served {
    pub(crate) fn start(seed: u64, tally: Arc<Tally>) -> Self {
        let setup = Setup::new();
        let (udp, tcp) = (free_port(), free_port());
        setup.replace("127.0.0.1:0", &format!("127.0.0.1:{udp}"));
        setup.listen_on_tcp();
        setup.replace("127.0.0.1:0", &format!("127.0.0.1:{tcp}"));
        setup.replace("[plugins]\n", "[plugins]\nmax_draining = 64\n");
        setup.replace("\"info\"", "\"info,plugin=debug\"");
        let root = setup.folder().join("files");
        fs::create_dir(&root).unwrap();
        let directory = setup.folder().join("disk");
        let records = directory.join("audit.jsonl");
        setup.ssh_config(&format!(
            "services.sftp = {{ enabled = true, root = {root:?} }}\naudit.file = {records:?}"
        ));
        let_in(&setup, 0);
        let mut disk = Disk::lasting(&setup, &directory);
        let log = setup.folder().join("log");
        Run::new("mkfifo").arg(&log).output();
        let pipe = OpenOptions::new().read(true).write(true).open(&log);
        let reads = Arc::new(AtomicBool::new(true));
        follow(File::open(&log).unwrap(), &reads, &tally);
        let wrapper: Vec<String> = ["sh", "-c", "exec \"$@\" 2>\"$0\"", log.to_str().unwrap()]
            .map(str::to_owned)
            .into();
        let node = disk.start_under(&words(&wrapper), setup);
        let bad = bad_libraries()
            .into_iter()
            .map(|bad| (bad.words, bad.bytes));
        Self {
            user: Alknet::to(&node),
            records: disk.outside(&records),
            records_before: 0,
            node: Some(node),
            disk,
            tally,
            bad: bad.collect(),
            wrapper,
            reads,
            _pipe: pipe.unwrap(),
            swaps: 0,
            logins: 0,
            peers: 0,
            marks: seed << 20,
        }
    }

    pub(crate) fn node(&self) -> &TestNode {
        self.node.as_ref().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.node().pid()
    }

    fn setup(&self) -> &Setup {
        &self.node().setup
    }

    /// Does it, and sees that the node does what it should.
    pub(crate) fn happen(&mut self, what: Action, samples: &Samples) {
        match what {
            Action::Swap { version } => {
                install(self.setup(), &variant(&artifacts().plugin, version), SSH);
                self.expect(swap(self.setup()), 0, "");
                self.swaps += 1;
            }
            Action::BadPlugin { kind } => self.bad_plugin(kind),
            Action::Rollback => {
                let code = i32::from(self.swaps == 0);
                self.expect(plugins(self.setup(), &["rollback", "ssh"]), code, "");
            }
            Action::Reload => {
                self.peers += 1;
                let_in(self.setup(), self.peers);
                self.expect(self.setup().on_state("reload").ended(), 0, "reloaded");
            }
            Action::BadReload { kind } => self.bad_reload(kind),
            Action::Kill { down_ms } => self.kill(Duration::from_millis(down_ms), samples),
            Action::FullDisk { ms } => self.full_disk(Duration::from_millis(ms)),
            Action::StalledLog { ms } => self.stalled_log(Duration::from_millis(ms)),
            Action::RemovedSocket => {
                let socket = self.setup().state().join("admin.sock");
                fs::remove_file(&socket).unwrap();
                eventually("the admin socket is made again", || {
                    socket.exists().then_some(())
                });
            }
            Action::HangUp => self.node().signal(Signal::HUP),
        }
    }

    /// A new session gets in, whatever was before.
    pub(crate) fn lets_somebody_in(&mut self, after: &str) {
        let ended = self.user.exec("echo in").ended();
        self.tally.check(ended.out() == "in\n", || {
            format!("nobody gets in after {after}: {ended}")
        });
        self.logins += 1;
    }

    /// Has it do each thing once: code that was never run is not in memory.
    pub(crate) fn warm_up(&mut self) {
        self.lets_somebody_in("its start");
        let file = self.setup().folder().join("warm");
        fs::write(&file, "warm").unwrap();
        let to = format!("{NODE}:warm");
        let ended = self.user.run(&["cp", file.to_str().unwrap(), &to]).ended();
        self.tally
            .check(ended.status.success(), || format!("{ended}"));
        self.logins += 1;
        for ssh in [Ssh::to(self.node()), Ssh::over_tcp(self.node())] {
            let ended = ssh.run("true");
            self.tally
                .check(ended.status.success(), || format!("{ended}"));
            self.logins += 1;
        }
    }

    fn bad_plugin(&mut self, kind: u64) {
        let file = self.setup().plugins().join(SSH);
        let good = fs::read(&file).unwrap();
        let before = serving(self.setup());
        let (words, bytes) = &self.bad[kind as usize % self.bad.len()];
        install(self.setup(), bytes, SSH);
        self.expect(swap(self.setup()), 1, words);
        self.tally.check(serving(self.setup()) == before, || {
            "a bad file replaced what served".to_owned()
        });
        install(self.setup(), &good, SSH);
    }

    fn bad_reload(&mut self, kind: u64) {
        let (name, how) = BAD_FILES[kind as usize % BAD_FILES.len()];
        let file = self.setup().state().join(name);
        let good = fs::read(&file).unwrap();
        let bad = match how {
            Spoiled::Empty => Vec::new(),
            Spoiled::Cut => good[..good.len() * 2 / 3].to_vec(),
            Spoiled::Wrong => [&good[..], b"\n[[peers]\n"].concat(),
        };
        fs::write(&file, bad).unwrap();
        self.expect(self.setup().on_state("reload").ended(), 1, name);
        fs::write(&file, good).unwrap();
    }

    fn kill(&mut self, down: Duration, samples: &Samples) {
        self.tally.goes_down();
        self.node().signal(Signal::KILL);
        let setup = self.node.take().unwrap().wait().setup;
        samples.life_ends();
        std::thread::sleep(down);
        self.records_before = fs::metadata(&self.records).map_or(0, |file| file.len());
        self.node = Some(self.disk.start_under(&words(&self.wrapper), setup));
        (self.swaps, self.logins) = (0, 0);
        self.warm_up();
        samples.life_begins(self.pid());
        self.tally.is_back();
    }

    fn full_disk(&mut self, long: Duration) {
        let file = self.setup().plugins().join(SSH);
        let good = fs::read(&file).unwrap();
        let full = self.disk.fill(self.node());
        // One that was never there needs a copy.
        self.marks += 1;
        install(self.setup(), &variant(&artifacts().plugin, self.marks), SSH);
        self.expect(swap(self.setup()), 1, "staged copy");
        install(self.setup(), &good, SSH);
        self.lets_somebody_in("the disk is full");
        std::thread::sleep(long);
        drop(full);
    }

    fn stalled_log(&mut self, long: Duration) {
        self.reads.store(false, Ordering::SeqCst);
        std::thread::sleep(long);
        self.lets_somebody_in("the log is not read");
        self.reads.store(true, Ordering::SeqCst);
    }

    fn expect(&self, ended: Ended, code: i32, words: &str) {
        let right = ended.status.code() == Some(code)
            && (ended.out().contains(words) || ended.err().contains(words));
        self.tally
            .check(right, || format!("not code {code} with {words:?}: {ended}"));
    }

    /// Whether nobody is connected, and all that was replaced has ended.
    pub(crate) fn is_idle(&self) -> bool {
        let now = status(self.setup());
        let generations = now["generations"].as_array().unwrap();
        generations.len() == 1 && generations[0]["sessions"] == 0
    }

    pub(crate) fn libraries(&self) -> usize {
        let libraries = status(self.setup())["node"]["libraries"].as_u64();
        libraries.unwrap() as usize
    }

    /// What its descriptors lead to.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let links = open.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
        links.map(|link| link.display().to_string()).collect()
    }

    /// Ends the node, and looks for what it lost of its last life: in its log,
    /// and of so many log-ins in its records.
    pub(crate) fn stop(mut self, logins: u64) -> Vec<String> {
        let said = |status: &Value| status["node"]["log_records_dropped"].as_u64().unwrap();
        let dropped = said(&status(self.setup()));
        let node = self.node.take().unwrap();
        let stopped = node.stop();
        self.tally.check(stopped.status.success(), || {
            format!("it did not end well: {:?}", stopped.status)
        });
        // The log of earlier lives may lack what they never told.
        let deadline = Instant::now() + HANG / 4;
        while self.tally.dropped_told() < dropped && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let told = self.tally.dropped_told();
        self.tally.check(told >= dropped, || {
            format!("{dropped} log records were dropped, {told} told")
        });
        let text = fs::read(&self.records).unwrap();
        let of_life = &text[self.records_before as usize..];
        records::check(&text, of_life, logins + self.logins, &self.tally)
    }
}

/// Lets in the owner, and every other time somebody else too.
fn let_in(setup: &Setup, times: u64) {
    let mut peers = Peers::new();
    let scopes = [
        "ssh:exec",
        "ssh:sftp",
        "ssh:forward:127.0.0.1:*",
        "ssh:listen:*:*",
    ];
    peers.add("owner", &setup.key, &scopes);
    if times % 2 == 1 {
        let key = TestKey::make(setup.folder(), &format!("other{times}"));
        peers.add("other", &key, &scopes);
    }
    peers.write(setup);
}

fn serving(setup: &Setup) -> Value {
    let now = status(setup);
    let generations = now["generations"].as_array().unwrap();
    let found = generations.iter().find(|one| one["state"] == "serving");
    found.map(|one| one["id"].clone()).unwrap_or_default()
}

/// Reads the log, except while it is not to be read.
fn follow(log: File, reads: &Arc<AtomicBool>, tally: &Arc<Tally>) {
    let (reads, tally) = (Arc::clone(reads), Arc::clone(tally));
    std::thread::spawn(move || {
        for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
            while !reads.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            tally.logged(&String::from_utf8_lossy(&line));
        }
    });
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
