//! Nothing is believed, and little is kept, before it is proven: where a peer
//! is, and whose a connection is.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use alknet_quic::{Client as QuicClient, TransportSettings, Trust, bind_client, connect};
use alknet_ssh::Client;
use integration_tests::{
    Dialled, Loopback, Memory, Message, Packets, Relay, Setup, TestAuthority, TestKey, TestNode,
    eventually, log_in, log_in_with_file, requires,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::sleep;

/// Where the attacker is; the relay speaks from there.
const HERE: Loopback = Loopback(1);
/// Where it would like to be.
const ELSEWHERE: Loopback = Loopback(9);

/// How long datagrams are spoofed: long enough for a stream to be opened.
const SPOOFED: Duration = Duration::from_millis(300);

fn peers(setup: &Setup, text: &str) {
    let file = setup.state().join("peers.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn owner(setup: &Setup, resources: &str) -> String {
    format!(
        "[[peers]]\nid = \"owner\"\nkeys = [{:?}]\nscopes = [\"ssh:exec\"]\nresources = {{ {resources} }}\n",
        setup.key.public_line()
    )
}

async fn by(relay: &Relay, node: &TestNode) -> Dialled {
    HERE.quic_at(node, relay.addr()).await.unwrap()
}

/// What comes of a log-in whose first datagrams claim to come from elsewhere.
async fn spoofed<T>(relay: &Relay, from: Loopback, log_in: impl Future<Output = T>) -> T {
    relay.spoof(Some(from.ip()));
    let honest = async {
        sleep(SPOOFED).await;
        relay.spoof(None);
    };
    tokio::join!(log_in, honest).0
}

#[test]
fn a_spoofed_datagram_opens_no_door() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("certificates.enabled = true");
    let staff = TestAuthority::make(setup.folder(), "staff", "ed25519");
    let alice = TestKey::make(setup.folder(), "alice");
    let from = format!("source-address={}", ELSEWHERE.ip());
    let certificate = staff.sign("alice", &alice.public_file(), &["-n", "alice", "-O", &from]);
    fs::rename(certificate, setup.folder().join("alice-cert.pub")).unwrap();
    peers(
        &setup,
        &format!(
            "[[authorities]]\nid = \"staff\"\nkeys = [{:?}]\n\n\
             [[peers]]\nid = \"alice\"\nscopes = [\"ssh:exec\"]\n\
             certificates = [{{ authority = \"staff\", principals = [\"alice\"] }}]\n\n{}",
            staff.public_line(),
            owner(&setup, &format!("\"ssh:from\" = [\"{}\"]", ELSEWHERE.ip())),
        ),
    );
    let node = setup.start();
    let key = &node.setup.key;
    Runtime::new().unwrap().block_on(async {
        // Both are let in from there.
        let there = ELSEWHERE.quic(&node).await.unwrap();
        drop(log_in(&node, &there, "me", key).await.unwrap());
        let there = ELSEWHERE.quic(&node).await.unwrap();
        let by_certificate = log_in_with_file(&node, &there, "alice", &alice.file).await;
        drop(by_certificate.unwrap());
        // The log is written by a thread of its own.
        eventually("both log-ins are in the log", || {
            (node.log().matches("result=\"accepted\"").count() == 2).then_some(())
        });
        let before = node.log();

        let relay = Relay::to(node.addr);
        let dialled = by(&relay, &node).await;
        let login = log_in(&node, &dialled, "me", key);
        let refused = spoofed(&relay, ELSEWHERE, login).await;
        assert!(refused.is_err(), "ssh:from was passed");
        let dialled = by(&relay, &node).await;
        let login = log_in_with_file(&node, &dialled, "alice", &alice.file);
        let refused = spoofed(&relay, ELSEWHERE, login).await;
        assert!(refused.is_err(), "source-address was passed");
        node.logged(&["auth attempt", "refused", "127.0.0.1:"]);
        let log = node.log();
        let since = log.strip_prefix(before.as_str()).unwrap();
        let mut begun = since
            .lines()
            .filter(|line| line.contains("auth attempt") || line.contains("connection opened"));
        let elsewhere = ELSEWHERE.ip().to_string();
        assert!(begun.all(|line| !line.contains(&elsewhere)), "{since}");
    });
}

#[test]
fn a_stranger_is_not_penalised_for_what_others_write_into_datagrams() {
    let setup = Setup::new();
    setup.ssh_config(
        "limits.penalties = { exempt = [], authfail_seconds = 60, min_seconds = 60 }\n\
         limits.max_startups = { start = 100, rate = 30, full = 100, per_source = 2 }",
    );
    let node = setup.start();
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    Runtime::new().unwrap().block_on(async {
        let relay = Relay::to(node.addr);
        // Each claims another address, and all of them count for the one.
        let mut held = Vec::new();
        for last in 20..25 {
            let dialled = by(&relay, &node).await;
            relay.spoof(Some(Loopback(last).ip()));
            let mut stream = dialled.stream().await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-")
                .await
                .unwrap();
            sleep(Duration::from_millis(100)).await;
            relay.spoof(None);
            held.push((dialled, stream));
        }
        eventually("three are turned away", || {
            (node
                .log()
                .matches("too many connections of this address")
                .count()
                >= 3)
                .then_some(())
        });
        drop(held);
        eventually("nobody is about to log in", || {
            let status = node.setup.on_state("status").arg("--json").output();
            let status: Value = serde_json::from_str(&status).unwrap();
            (status["generations"][0]["handler"]["startups"] == 0).then_some(())
        });
        let dialled = by(&relay, &node).await;
        let login = log_in(&node, &dialled, "root", &stranger);
        assert!(spoofed(&relay, ELSEWHERE, login).await.is_err());
        dialled.connection.close(0u32.into(), b"");
        let penalised = node.logged(&["address penalised"]);
        assert!(penalised.contains("source=\"127.0.0.1\""), "{penalised}");
        let there = ELSEWHERE.quic(&node).await.unwrap();
        log_in(&node, &there, "me", &node.setup.key).await.unwrap();
    });
}

/// A node that lets its owner in from one address alone.
fn let_in_from(address: Loopback) -> TestNode {
    let setup = Setup::new();
    let from = format!("\"ssh:from\" = [\"{}\"]", address.ip());
    peers(&setup, &owner(&setup, &from));
    setup.start()
}

#[test]
fn a_peer_that_really_moves_is_known_by_where_it_is() {
    let node = let_in_from(ELSEWHERE);
    let key = &node.setup.key;
    Runtime::new().unwrap().block_on(async {
        let relay = Relay::to(node.addr);
        let dialled = by(&relay, &node).await;
        assert!(log_in(&node, &dialled, "me", key).await.is_err());
        relay.move_to(ELSEWHERE.ip());
        let client = admitted(&node, &dialled, key).await;
        node.logged(&["auth attempt", "accepted", &format!("{}:", ELSEWHERE.ip())]);
        drop(client);
    });
}

#[test]
fn a_session_ends_when_its_peer_has_left_where_it_may_be() {
    let node = let_in_from(HERE);
    let key = &node.setup.key;
    Runtime::new().unwrap().block_on(async {
        let relay = Relay::to(node.addr);
        let dialled = by(&relay, &node).await;
        let client = log_in(&node, &dialled, "me", key).await.unwrap();
        // One datagram more from elsewhere does nothing to it.
        let exec = client.exec("echo in", &[]);
        drop(spoofed(&relay, ELSEWHERE, exec).await.unwrap());
        relay.move_to(ELSEWHERE.ip());
        let ended = tokio::time::timeout(Duration::from_secs(60), client.closed());
        ended.await.expect("the session goes on");
        node.logged(&["connection closed", "withdrawn"]);
    });
}

#[test]
fn strangers_make_the_node_keep_little() {
    const CONNECTIONS: usize = 40;
    const STREAMS: usize = 4;
    let setup = Setup::new();
    setup.ssh_config(
        "limits.max_startups = { start = 1000, rate = 30, full = 1000, per_source = 1000 }",
    );
    let node = setup.start();
    Runtime::new().unwrap().block_on(async {
        // What a first connection takes, it takes once.
        drop(HERE.quic(&node).await.unwrap());
        let memory = Memory::watch(&node);
        let client = QuicClient {
            trust: Trust::Pinned(node.node_key),
            key: None,
            alpn: b"alknet/ssh".to_vec(),
            settings: TransportSettings {
                // No credit for the node to send anything.
                stream_receive_window: 0,
                ..TransportSettings::default()
            },
        };
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = bind_client(node.addr).unwrap();
            let connection = connect(&endpoint, node.addr, &client).await.unwrap();
            for _ in 0..STREAMS {
                let (mut send, recv) = connection.open_bi().await.unwrap();
                let flood = tokio::spawn(async move {
                    let _ = send.write_all(b"SSH-2.0-flood\r\n").await;
                    while send.write_all(&[0; 64 << 10]).await.is_ok() {}
                });
                held.push((connection.clone(), endpoint.clone(), recv, flood));
            }
        }
        sleep(Duration::from_secs(2)).await;
        let growth = memory.growth_mib();
        println!("{CONNECTIONS} connections without credit: {growth} MiB more");
        assert!(growth < 16, "{growth} MiB");
        for (connection, ..) in held {
            connection.close(0u32.into(), b"");
        }
    });
    let status = node.setup.on_state("status").arg("--json").output();
    assert!(status.contains("serving"), "{status}");
}

#[test]
fn who_does_not_log_in_or_says_goodbye_holds_no_descriptor() {
    const PEERS: usize = 10;
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config(
        "limits.login_grace_seconds = 3\n\
         limits.max_startups = { start = 1000, rate = 30, full = 1000, per_source = 1000 }",
    );
    setup.grant(&[]);
    let node = setup.start();
    let idle = sockets(&node);
    let mut held = Vec::new();
    for _ in 0..PEERS {
        let mut stream = HERE.tcp(&node).unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").unwrap();
        held.push(stream);
    }
    eventually("all are there", || {
        (sockets(&node) == idle + PEERS).then_some(())
    });
    // Each is told that the time is over, and then has no more time.
    for stream in &mut held {
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.starts_with(b"SSH-2.0-"));
    }
    closed("the grace period", &node, idle);

    let mut held = Vec::new();
    for _ in 0..PEERS {
        let mut packets = Packets::login(&node, &node.setup.key);
        let goodbye = Message::new(1).u32(11).string("bye").string("");
        packets.send(&goodbye).unwrap();
        held.push(packets);
    }
    closed("a DISCONNECT", &node, idle);
}

#[test]
fn an_unknown_service_is_refused() {
    let setup = Setup::new();
    setup.listen_on_tcp();
    let node = setup.start();
    let mut packets = Packets::connect(&node);
    packets
        .send(&Message::new(5).string("ssh-connection"))
        .unwrap();
    let mut refused = packets.read_one_of(&[1]).unwrap();
    assert_eq!(refused.u32(), 7, "SSH_DISCONNECT_SERVICE_NOT_AVAILABLE");
}

fn closed(what: &str, node: &TestNode, idle: usize) {
    let began = Instant::now();
    eventually("their descriptors are closed", || {
        (sockets(node) <= idle).then_some(())
    });
    let took = began.elapsed();
    println!("descriptors closed {took:?} after {what}");
    // It took ten seconds and more; well below one is meant.
    assert!(took < Duration::from_secs(6), "{took:?} after {what}");
}

/// Descriptors of the node that are sockets.
fn sockets(node: &TestNode) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    open.filter(|to| to.to_string_lossy().starts_with("socket:"))
        .count()
}

/// The move takes a moment to be proven; nobody is to be let in before.
async fn admitted(node: &TestNode, dialled: &Dialled, key: &TestKey) -> Client {
    let trying = async {
        loop {
            match log_in(node, dialled, "me", key).await {
                Ok(client) => return client,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    let guard = tokio::time::timeout(Duration::from_secs(60), trying);
    guard.await.expect("the peer's new address was never taken")
}
