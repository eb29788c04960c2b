//! Versions of plugins come, go and return while the node serves. What is wrong
//! with one: `live_faults.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use alknet_ssh::Client;
use integration_tests::swapping::{
    Echo, ODD, Odd, SSH, install, plugins, serving, status, swap, variant,
};
use integration_tests::target::{answers, free_port};
use integration_tests::{
    Background, Dialled, HANG, Random, Setup, Ssh, Target, TestNode, artifacts, connect_ssh, dial,
    dial_as, eventually, requires, sha256,
};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

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

/// An interactive `cat` on a session of its own.
struct Session {
    _quic: Dialled,
    _client: Client,
    process: alknet_ssh::RemoteProcess,
    random: Random,
}

impl Session {
    async fn open(node: &TestNode, seed: u64) -> Self {
        let quic = dial(node).await;
        let client = connect_ssh(node, &quic).await;
        let process = client.exec("cat", &[]).await.unwrap();
        Self {
            _quic: quic,
            _client: client,
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
    let setup = Setup::new();
    setup.replace("watch = false", "watch = true");
    let odd = Odd::start_with("VERSION=1.0.0\n", setup, TestNode::start);
    let setup = &odd.node.setup;
    odd.next(1, "VERSION=2.0.0\n");
    eventually("the new version serves by itself", || {
        (serving(setup, "odd")["version"] == "2.0.0").then_some(())
    });
    assert_eq!(serving(setup, "ssh")["id"], 1);
}

#[test]
fn too_many_old_versions_and_too_old_ones_are_ended_cleanly() {
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nmax_draining = 1\n");
    let node = setup.start();
    let setup = &node.setup;
    let runtime = runtime();
    let mut sessions = Vec::new();
    // Its user is to read why it ends.
    let stock = requires(&["ssh"]).then(|| {
        let mut stock = Background::spawn(Ssh::to(&node).command("cat"));
        stock.echoes("before");
        stock
    });
    let on_oldest = if stock.is_some() {
        "2 connections"
    } else {
        "1 connection"
    };
    for mark in 0..3 {
        sessions.push(runtime.block_on(Session::open(&node, mark)));
        install(setup, &variant(&artifacts().plugin, mark), SSH);
        let ended = swap(setup);
        if mark == 0 {
            assert_eq!(ended.code(), 0, "{ended}");
            continue;
        }
        // Nothing is ended that nobody has agreed to.
        let doomed = match mark {
            1 => format!("{on_oldest} on generation 1"),
            _ => "1 connection on generation 2".to_owned(),
        };
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&["would end", &doomed, "max_draining", "--yes"]);
        assert_eq!(serving(setup, "ssh")["id"], mark + 1);
        let ended = plugins(setup, &["reload", "--yes"]);
        assert_eq!(ended.code(), 0, "{ended}");
        ended.line_with(&["ends", &doomed]);
        node.logged(&["has ended", &format!("generation={mark}")]);
    }
    if let Some(mut stock) = stock {
        let said = stock.says(&["this version was replaced by version", "connect again"]);
        assert!(said.is_some(), "{}", stock.err());
    }
    node.logged(&["max_draining", "ending those on the oldest", "generation=1"]);
    node.logged(&["has ended", "generation=2", "ended=1"]);
    runtime.block_on(sessions[2].works(1000));
    // Nor by another way to replace what serves.
    let newest = runtime.block_on(Session::open(&node, 8));
    for args in [["unload", "ssh"], ["rollback", "ssh"]] {
        let ended = plugins(setup, &args);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[
            "would end",
            "1 connection on generation 3",
            args[0],
            "--yes",
        ]);
        assert_eq!(serving(setup, "ssh")["id"], 4);
    }
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
    drop((kept, newest));
}
