//! Versions of plugins change while the node serves: nobody notices, and
//! whatever is wrong with the new one leaves the old one serving.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use alknet_quic::QuicStream;
use alknet_ssh::Client;
use integration_tests::target::{answers, free_port};
use integration_tests::{
    Background, Dialled, Ended, HANG, Random, Setup, Ssh, Target, TestNode, artifacts, connect_ssh,
    dial, dial_as, eventually, requires, sha256,
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SSH: &str = "libalknet_ssh_plugin.so";
const ODD: &str = "zz_odd.so";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = runtime();
    let guarded = async { tokio::time::timeout(HANG, future).await };
    let outcome = runtime.block_on(guarded);
    runtime.shutdown_background();
    outcome.expect("this hangs")
}

/// A library that is the same, but for its digest.
fn variant(library: &Path, mark: u64) -> Vec<u8> {
    let mut bytes = fs::read(library).unwrap();
    bytes.extend_from_slice(format!("variant {mark}").as_bytes());
    bytes
}

/// Puts a file into the plugins folder by rename, as an installer would.
fn install(setup: &Setup, bytes: &[u8], name: &str) {
    let fresh = setup.plugins().join(format!(".{name}.fresh"));
    fs::write(&fresh, bytes).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(fresh, setup.plugins().join(name)).unwrap();
}

fn plugins(setup: &Setup, args: &[&str]) -> Ended {
    let args = [&["plugins"], args, &["--state"]].concat();
    setup.node(&args).arg(setup.state()).ended()
}

fn swap(setup: &Setup) -> Ended {
    plugins(setup, &["reload"])
}

fn status(setup: &Setup) -> Value {
    let text = setup.on_state("status").arg("--json").output();
    serde_json::from_str(&text).unwrap()
}

/// The generation of a plugin that serves.
fn serving(setup: &Setup, plugin: &str) -> Value {
    let status = status(setup);
    let generations = status["generations"].as_array().unwrap();
    let found = generations
        .iter()
        .find(|one| one["plugin"] == plugin && one["state"] == "serving");
    found.unwrap_or_else(|| panic!("{status:#}")).clone()
}

/// A node with the fixture beside SSH; the fixture does as `ODD_SETTINGS`
/// says, which can be changed.
struct Odd {
    node: TestNode,
    settings: PathBuf,
}

impl Odd {
    fn start(settings: &str) -> Self {
        Self::start_with(settings, |_| ())
    }

    fn start_with(settings: &str, prepare: impl FnOnce(&Setup)) -> Self {
        let mut setup = Setup::new();
        let file = setup.folder().join("settings");
        fs::write(&file, settings).unwrap();
        setup.env("ODD_SETTINGS", file.to_str().unwrap());
        setup.install(&artifacts().odd, ODD);
        prepare(&setup);
        Self {
            node: setup.start(),
            settings: file,
        }
    }

    /// The next version of the fixture, with these settings from now on.
    fn next(&self, mark: u64, settings: &str) {
        fs::write(&self.settings, settings).unwrap();
        install(&self.node.setup, &variant(&artifacts().odd, mark), ODD);
    }
}

/// A connection to the fixture that stays open.
struct Echo {
    _quic: Dialled,
    stream: QuicStream,
}

impl Echo {
    async fn open(node: &TestNode) -> Self {
        let quic = dial_as(node, None, b"odd/echo").await.unwrap();
        let stream = quic.stream().await;
        let mut echo = Self {
            _quic: quic,
            stream,
        };
        echo.works().await;
        echo
    }

    async fn works(&mut self) {
        self.stream.write_all(b"still here").await.unwrap();
        let mut back = [0; 10];
        self.stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"still here");
    }
}

/// An interactive `cat` on a session of its own.
struct Session {
    quic: Dialled,
    client: Client,
    process: alknet_ssh::RemoteProcess,
    random: Random,
}

impl Session {
    async fn open(node: &TestNode, seed: u64) -> Self {
        let quic = dial(node).await;
        let client = connect_ssh(node, &quic).await;
        let process = client.exec("cat", &[]).await.unwrap();
        Self {
            quic,
            client,
            process,
            random: Random::new(seed),
        }
    }

    /// Sends random bytes through and compares what comes back.
    async fn works(&mut self, length: usize) {
        let sent = self.random.bytes(length);
        let mut back = vec![0; length];
        let (written, read) = tokio::join!(
            self.process.stdin.send(sent.clone()),
            self.process.stdout.read_exact(&mut back)
        );
        written.unwrap();
        read.unwrap();
        assert_eq!(sha256(&back), sha256(&sent));
    }

    async fn close(self) {
        drop(self.process);
        self.client.disconnect().await;
        self.quic.connection.close(0u32.into(), b"");
    }
}

#[test]
fn twenty_swaps_under_traffic_cost_nobody_anything() {
    const SESSIONS: u64 = 20;
    const SWAPS: u64 = 20;
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 64\n");
    let node = Arc::new(setup.start());
    let stop = Arc::new(AtomicBool::new(false));
    let came = Arc::new(AtomicUsize::new(0));
    let first = serving(&node.setup, "ssh")["digest"].clone();
    let before = status(&node.setup)["node"]["memory_bytes"]
        .as_u64()
        .unwrap();
    let runtime = runtime();
    let traffic: Vec<_> = (0..SESSIONS)
        .map(|seed| {
            let (node, stop) = (Arc::clone(&node), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut session = Session::open(&node, seed).await;
                while !stop.load(Ordering::Relaxed) {
                    session.works(64 * 1024).await;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                session.close().await;
            })
        })
        .collect();
    let newcomers = {
        let (node, stop) = (Arc::clone(&node), Arc::clone(&stop));
        let came = Arc::clone(&came);
        runtime.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut session = Session::open(&node, 99).await;
                session.works(1000).await;
                session.close().await;
                came.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
    };
    eventually("all sessions are there", || {
        let sessions = serving(&node.setup, "ssh")["sessions"].as_u64();
        sessions.filter(|sessions| *sessions >= SESSIONS)
    });
    for round in 1..=SWAPS {
        let arrived = came.load(Ordering::Relaxed);
        install(&node.setup, &variant(&artifacts().plugin, round % 2), SSH);
        let ended = swap(&node.setup);
        assert_eq!(ended.code(), 0, "{ended}");
        assert!(ended.out().contains("serves"), "{ended}");
        eventually("newcomers go on coming", || {
            (came.load(Ordering::Relaxed) > arrived).then_some(())
        });
    }
    let now = status(&node.setup);
    let generations = now["generations"].as_array().unwrap();
    let sessions_of = |id: u64| {
        let one = generations.iter().find(|one| one["id"] == id);
        one.and_then(|one| one["sessions"].as_u64()).unwrap_or(0)
    };
    assert_eq!(serving(&node.setup, "ssh")["id"], SWAPS + 1);
    assert!(sessions_of(1) >= SESSIONS, "{now:#}");
    assert_ne!(serving(&node.setup, "ssh")["digest"], first);
    // The start's library and the two that took turns.
    assert_eq!(now["node"]["libraries"], 3, "{now:#}");
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in traffic {
            task.await.unwrap();
        }
        newcomers.await.unwrap();
    });
    runtime.shutdown_background();
    eventually("old generations are gone", || {
        let now = status(&node.setup);
        (now["generations"].as_array().unwrap().len() == 1).then_some(())
    });
    let after = status(&node.setup)["node"]["memory_bytes"]
        .as_u64()
        .unwrap();
    let each = after.saturating_sub(before) / SWAPS / 1024;
    println!(
        "{each} KiB a swap, {} newcomers",
        came.load(Ordering::Relaxed)
    );
    assert!(each < 4096, "{each} KiB a swap");
    node.logged(&["connection on a replaced version has ended", "generation=1"]);
}

#[test]
fn a_session_with_forwards_of_stock_ssh_outlives_a_swap_and_a_rollback() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    let target = Target::echo();
    let port = target.port();
    setup.grant(&[&format!("ssh:forward:127.0.0.1:{port}"), "ssh:listen:*:*"]);
    let node = setup.start();
    let ssh = Ssh::to(&node);
    let (here, there) = (free_port(), free_port());
    let tunnel = ssh.tunnel(&[
        "-L",
        &format!("127.0.0.1:{here}:127.0.0.1:{port}"),
        "-R",
        &format!("127.0.0.1:{there}:127.0.0.1:{port}"),
    ]);
    let tunnel = tunnel.unwrap_or_else(|ended| panic!("{ended}"));
    // One connection through the forward that stays open throughout.
    let mut through = TcpStream::connect(("127.0.0.1", here)).unwrap();
    through.set_read_timeout(Some(HANG)).unwrap();
    let mut cat = Background::spawn(ssh.command("cat"));
    let mut all_work = |word: &str| {
        cat.echoes(word);
        through.write_all(word.as_bytes()).unwrap();
        let mut back = vec![0; word.len()];
        through.read_exact(&mut back).unwrap();
        assert_eq!(back, word.as_bytes());
        for port in [here, there] {
            assert!(answers(SocketAddr::from(([127, 0, 0, 1], port))), "{word}");
        }
        assert_eq!(ssh.run("echo new").out(), "new\n");
    };
    all_work("before");
    install(&node.setup, &variant(&artifacts().plugin, 1), SSH);
    assert_eq!(swap(&node.setup).code(), 0);
    all_work("between");
    let began = Instant::now();
    assert_eq!(plugins(&node.setup, &["rollback"]).code(), 0);
    println!("a rollback took {:?}", began.elapsed());
    all_work("after");
    let generations = status(&node.setup)["generations"].clone();
    assert_eq!(generations[0]["id"], 1, "{generations:#}");
    assert_eq!(generations[0]["state"], "draining", "{generations:#}");
    assert_eq!(generations[0]["sessions"], 2, "{generations:#}");
    drop(tunnel);
}

#[test]
fn rollback_brings_the_version_before_back_at_once() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let ended = plugins(setup, &["rollback"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["no version to go back to"]);
    odd.next(1, "VERSION=2.0.0\n");
    let ended = swap(setup);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(
        ended.out().contains("odd: version 2.0.0")
            && ended.out().contains("in place of version 1.0.0"),
        "{ended}"
    );
    assert!(ended.out().contains("ssh: unchanged"), "{ended}");
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    let began = Instant::now();
    let ended = plugins(setup, &["rollback", "odd"]);
    let took = began.elapsed();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(serving(setup, "odd")["version"], "1.0.0");
    println!("a rollback took {took:?}");
    // What was rolled back from stays away until it is asked for.
    odd.node.signal(Signal::HUP);
    odd.node.logged(&["configuration reloaded"]);
    assert_eq!(serving(setup, "odd")["version"], "1.0.0");
    odd.node.logged(&["left alone", "odd"]);
    let ended = plugins(setup, &["reload", "odd"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    // And a second rollback of a row goes forward again.
    for version in ["1.0.0", "2.0.0"] {
        assert_eq!(plugins(setup, &["rollback"]).code(), 0);
        assert_eq!(serving(setup, "odd")["version"], version);
    }
    assert_eq!(serving(setup, "ssh")["id"], 1, "it was left alone");
}

/// Each way in which a new version can be wrong: what it is told to do, and
/// the words that name it.
const FAULTS: [(&str, &[&str]); 12] = [
    ("LOAD=exit", &["ended that process with status 3"]),
    ("LOAD=abort", &["signal 6 (SIGABRT)"]),
    ("LOAD=segv", &["signal 11 (SIGSEGV)"]),
    ("INTERFACE=0", &["plugin interface 0", "speaks 1"]),
    ("VERSION=new", &["semantic versioning"]),
    ("NAME=Not A Name", &["lower-case"]),
    ("SCHEMA=garbage", &["not JSON"]),
    (
        r#"SCHEMA={"type":"no such type"}"#,
        &["JSON Schema is wrong"],
    ),
    (
        r#"SCHEMA={"properties":{"mood":{"type":"integer"}}}"#,
        &["node.toml:", "/plugins/config/odd/mood"],
    ),
    (
        "ALPN=alknet/ssh",
        &["alknet/ssh", "is served by the plugin"],
    ),
    ("FACTORY=fail", &["the stars do not favour it"]),
    ("FACTORY=panic", &["has had enough"]),
];

#[test]
fn whatever_is_wrong_with_a_new_version_the_old_one_serves_on() {
    let odd = Odd::start_with("VERSION=1.0.0\n", |setup| {
        setup.append("node.toml", "\n[plugins.config.odd]\nmood = \"sour\"\n");
    });
    let setup = &odd.node.setup;
    let runtime = runtime();
    let mut echo = runtime.block_on(Echo::open(&odd.node));
    let mut session = runtime.block_on(Session::open(&odd.node, 1));
    for (mark, (settings, words)) in FAULTS.into_iter().enumerate() {
        odd.next(mark as u64, &format!("{settings}\n"));
        let ended = swap(setup);
        assert_eq!(ended.code(), 1, "{settings}: {ended}");
        let said = ended.line_with(words);
        assert!(said.contains("refused"), "{ended}");
        assert!(
            ended.out().contains("odd: version 1.0.0 (generation 2"),
            "{ended}"
        );
        let status = status(setup);
        let refused = status["refused"][0].to_string();
        assert!(
            words.iter().all(|word| refused.contains(word)),
            "{status:#}"
        );
        odd.node.logged(words);
        assert_eq!(serving(setup, "odd")["id"], 2);
        runtime.block_on(echo.works());
        runtime.block_on(session.works(1000));
        runtime.block_on(Echo::open(&odd.node));
    }
    // The next good one makes up for it all.
    odd.next(100, "VERSION=3.0.0\n");
    let ended = swap(setup);
    assert_eq!(ended.code(), 0, "{ended}");
    let status = status(setup);
    assert_eq!(status["refused"].as_array().unwrap().len(), 0, "{status:#}");
    runtime.block_on(echo.works());
    runtime.block_on(Echo::open(&odd.node));
}

#[test]
fn what_hangs_is_given_up_and_the_node_answers_meanwhile() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    for (mark, (settings, words)) in [
        ("LOAD=hang", ["took more than 20 s", ODD]),
        ("FACTORY=hang", ["did not return within 20 s", ODD]),
        ("FACTORY=late", ["did not return within 20 s", ODD]),
    ]
    .into_iter()
    .enumerate()
    {
        odd.next(mark as u64, &format!("{settings}\n"));
        let reload = setup
            .node(&["plugins", "reload", "--state"])
            .arg(setup.state())
            .spawn();
        // Neither the admin socket nor connections wait for that.
        assert_eq!(serving(setup, "odd")["id"], 2);
        run(Echo::open(&odd.node));
        let ended = reload.ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&words);
        assert_eq!(serving(setup, "odd")["id"], 2);
    }
    odd.node.logged(&["a factory came back too late"]);
}

#[test]
fn the_file_may_change_in_any_way_while_it_serves() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let file = setup.plugins().join(ODD);
    let runtime = runtime();
    let mut echo = runtime.block_on(Echo::open(&odd.node));
    let mut still_serves = |version: &str| {
        runtime.block_on(echo.works());
        runtime.block_on(Echo::open(&odd.node));
        assert_eq!(serving(setup, "odd")["version"], version);
    };
    let set = |version: &str| fs::write(&odd.settings, format!("VERSION={version}\n")).unwrap();
    // In place, as cp does.
    set("1.1.0");
    fs::write(&file, variant(&artifacts().odd, 1)).unwrap();
    still_serves("1.0.0");
    assert_eq!(swap(setup).code(), 0);
    still_serves("1.1.0");
    // Truncated in place.
    fs::write(&file, &variant(&artifacts().odd, 1)[..70_000]).unwrap();
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[ODD, "incomplete"]);
    still_serves("1.1.0");
    // By a hard link.
    set("1.2.0");
    let elsewhere = setup.folder().join("elsewhere.so");
    fs::write(&elsewhere, variant(&artifacts().odd, 2)).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(&file).unwrap();
    fs::hard_link(&elsewhere, &file).unwrap();
    assert_eq!(swap(setup).code(), 0);
    still_serves("1.2.0");
    // By a symbolic link, which is not followed.
    fs::remove_file(&file).unwrap();
    symlink(&elsewhere, &file).unwrap();
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["symbolic link"]);
    still_serves("1.2.0");
    // Gone.
    fs::remove_file(&file).unwrap();
    let ended = swap(setup);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("is gone"), "{ended}");
    still_serves("1.2.0");
    // Under another name, now that the first is gone.
    set("1.3.0");
    install(setup, &variant(&artifacts().odd, 3), "zz_renamed.so");
    assert_eq!(swap(setup).code(), 0);
    still_serves("1.3.0");
    // Twice.
    install(setup, &variant(&artifacts().odd, 4), ODD);
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["keep one of the two"]);
    still_serves("1.3.0");
}

#[test]
fn plugins_come_and_go_while_the_node_serves() {
    let setup = Setup::new();
    let node = setup.start();
    let setup = &node.setup;
    assert!(run(dial_as(&node, None, b"odd/echo")).is_err());
    install(setup, &variant(&artifacts().odd, 1), ODD);
    let ended = plugins(setup, &["reload", "odd"]);
    assert_eq!(ended.code(), 0, "{ended}");
    let runtime = runtime();
    let mut echo = runtime.block_on(Echo::open(&node));
    let ended = plugins(setup, &["unload", "odd"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(run(dial_as(&node, None, b"odd/echo")).is_err());
    runtime.block_on(echo.works());
    for (args, words) in [
        (["unload", "odd"], ["no plugin \"odd\" serves", "ssh"]),
        (["reload", "nothing"], ["no plugin \"nothing\"", "ssh"]),
    ] {
        let ended = plugins(setup, &args);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&words);
    }
}

#[test]
fn a_new_version_may_bring_another_alpn_and_needs_its_configuration() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let schema = r#"{"properties":{"mood":{"type":"integer"}},"required":["mood"]}"#;
    odd.next(
        1,
        &format!("VERSION=2.0.0\nALPN=odd/two\nSCHEMA={schema}\n"),
    );
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["mood"]);
    // One SIGHUP takes the file and its configuration together.
    setup.append("node.toml", "\n[plugins.config.odd]\nmood = 3\n");
    odd.node.signal(Signal::HUP);
    odd.node.logged(&[
        "plugin serves",
        "version=\"2.0.0\"",
        "replaced_generation=2",
    ]);
    odd.node.logged(&["configuration reloaded"]);
    run(async {
        dial_as(&odd.node, None, b"odd/two").await.unwrap();
        assert!(dial_as(&odd.node, None, b"odd/echo").await.is_err());
    });
}

#[test]
fn a_watched_folder_is_loaded_from_once_it_has_settled() {
    let odd = Odd::start_with("VERSION=1.0.0\n", |setup| {
        setup.replace("watch = false", "watch = true");
    });
    let setup = &odd.node.setup;
    odd.next(1, "VERSION=2.0.0\n");
    eventually("the new version serves by itself", || {
        (serving(setup, "odd")["version"] == "2.0.0").then_some(())
    });
    assert_eq!(serving(setup, "ssh")["id"], 1);
}

#[test]
fn two_reloads_at_once_and_one_during_the_end() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    odd.next(1, "VERSION=2.0.0\n");
    let reload = || {
        setup
            .node(&["plugins", "reload", "--state"])
            .arg(setup.state())
            .spawn()
    };
    let (a, b) = (reload(), reload());
    let (a, b) = (a.ended(), b.ended());
    assert_eq!((a.code(), b.code()), (0, 0), "{a}{b}");
    let swapped = |ended: &Ended| ended.out().contains("odd: version 2.0.0");
    assert!(swapped(&a) != swapped(&b), "{a}{b}");
    assert_eq!(serving(setup, "odd")["id"], 3);
    // A session holds the end up; meanwhile nothing is reloaded.
    let runtime = runtime();
    let _session = runtime.block_on(Session::open(&odd.node, 1));
    odd.node.terminate();
    odd.node.logged(&["stopping"]);
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["about to stop"]);
}

#[test]
fn too_many_old_versions_and_too_old_ones_are_ended_cleanly() {
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 1\n");
    let node = setup.start();
    let setup = &node.setup;
    let runtime = runtime();
    let mut sessions = Vec::new();
    for mark in 0..3 {
        sessions.push(runtime.block_on(Session::open(&node, mark)));
        install(setup, &variant(&artifacts().plugin, mark), SSH);
        assert_eq!(swap(setup).code(), 0);
    }
    node.logged(&["max_draining", "ending those on the oldest", "generation=1"]);
    node.logged(&["has ended", "generation=1", "ended=1"]);
    runtime.block_on(sessions[2].works(1000));
    // And those that have had their time.
    setup.replace(
        "max_draining = 1\n",
        "max_draining = 9\ndrain_seconds = 1\n",
    );
    assert_eq!(setup.on_state("reload").ended().code(), 0);
    let kept = runtime.block_on(Session::open(&node, 9));
    install(setup, &variant(&artifacts().plugin, 9), SSH);
    assert_eq!(swap(setup).code(), 0);
    node.logged(&["has ended", "generation=4"]);
    drop(kept);
}

#[test]
fn without_room_for_a_copy_nothing_changes() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let staging = setup.state().join("staging");
    if fs::metadata("/proc/self").is_ok() && rustix::process::geteuid().is_root() {
        // Root writes anywhere: take the folder away instead.
        fs::rename(&staging, setup.state().join("gone")).unwrap();
        fs::remove_dir_all(setup.state().join("gone")).unwrap();
    } else {
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o500)).unwrap();
    }
    odd.next(1, "VERSION=2.0.0\n");
    let ended = swap(setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["staged copy"]);
    run(Echo::open(&odd.node));
    assert_eq!(serving(setup, "odd")["version"], "1.0.0");
}
