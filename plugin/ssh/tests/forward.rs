//! Forwarding: what is granted is carried both ways, what is not is refused,
//! and no channel holds up the others for good.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alknet_handler::{BoxFuture, ProtocolHandler};
use alknet_ssh::{LookUpSlot, Resolver};
use russh::client::{ChannelOpenHandle, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, ChannelOpenFailure};
use support::{Node, Served, eventually, guard, identity, noise, sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

const PIPE: usize = 256 * 1024;

#[tokio::test]
async fn nothing_is_forwarded_by_default() {
    let (target, port) = listener().await;
    let node = Node::new();
    let peer = Peer::of(&node).await;
    let refusal = peer.direct("127.0.0.1", port).await.unwrap_err();
    assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);
    let refusal = refused(peer.session.channel_open_direct_streamlocal("/tmp/x").await);
    assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);
    assert!(peer.session.tcpip_forward("127.0.0.1", 0).await.is_err());
    assert!(peer.session.streamlocal_forward("/tmp/x").await.is_err());
    let nobody = tokio::time::timeout(Duration::from_millis(50), target.accept()).await;
    assert!(nobody.is_err(), "the target was not even tried");
}

#[tokio::test]
async fn bytes_and_ends_pass_both_ways_independently() {
    let (target, port) = listener().await;
    let node = Node::with("{}", &["ssh:forward:127.0.0.1:*"]);
    let peer = Peer::of(&node).await;
    // The target ends first and still hears the rest.
    let mut channel = peer.direct("127.0.0.1", port).await.unwrap();
    let (mut socket, _) = target.accept().await.unwrap();
    socket.write_all(b"greeting").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(read_to_eof(&mut channel).await, b"greeting");
    channel.data(&b"and the rest"[..]).await.unwrap();
    channel.eof().await.unwrap();
    let mut heard = String::new();
    guard("the rest", socket.read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard, "and the rest");
    drop(socket);
    closed(&mut channel).await;
    drop(channel);

    // The client ends first and still hears the answer.
    let mut channel = peer.direct("127.0.0.1", port).await.unwrap();
    let (mut socket, _) = target.accept().await.unwrap();
    channel.data(&b"question"[..]).await.unwrap();
    channel.eof().await.unwrap();
    let mut heard = String::new();
    guard("the question", socket.read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard, "question");
    socket.write_all(b"answer").await.unwrap();
    drop(socket);
    assert_eq!(read_to_eof(&mut channel).await, b"answer");
    closed(&mut channel).await;
    drop(channel);
    peer.end().await;
    node.idle().await;
}

#[tokio::test]
async fn bytes_sent_right_before_the_close_still_arrive() {
    let (target, port) = listener().await;
    let node = Node::with("{}", &["ssh:forward:127.0.0.1:*"]);
    let peer = Peer::of(&node).await;
    let channel = peer.direct("127.0.0.1", port).await.unwrap();
    let (mut socket, _) = target.accept().await.unwrap();
    let sent = noise(1 << 20, 7);
    channel.data(&sent[..]).await.unwrap();
    channel.eof().await.unwrap();
    channel.close().await.unwrap();
    let mut received = Vec::new();
    guard("the bytes", socket.read_to_end(&mut received))
        .await
        .unwrap();
    assert_eq!(sha256(&received), sha256(&sent));
}

#[tokio::test]
async fn what_cannot_be_connected_is_told_from_what_is_prohibited() {
    let (target, port) = listener().await;
    drop(target);
    let node = Node::with(
        r#"{"forwarding":{"connect_timeout_seconds":1}}"#,
        &["ssh:forward:*:*"],
    );
    let peer = Peer::of(&node).await;
    let long = "a".repeat(10_000);
    for (host, port) in [
        ("127.0.0.1", u32::from(port)),
        ("127.0.0.1", 0),
        ("127.0.0.1", 65_536),
        ("127.0.0.1", u32::MAX),
        ("does-not-exist.invalid", 80),
        ("a\0b", 80),
        ("", 80),
        (&long, 80),
    ] {
        let outcome = peer.session.channel_open_direct_tcpip(host, port, "::1", 1);
        let refusal = refused(guard("a refusal", outcome).await);
        assert_eq!(refusal, ChannelOpenFailure::ConnectFailed, "{port}");
    }
    guard("a sign of life", peer.session.send_ping())
        .await
        .unwrap();
    assert_eq!(node.status()["channels"], 0);
}

#[tokio::test]
async fn a_silent_target_is_given_up() {
    let node = Node::with_resolver(
        r#"{"forwarding":{"connect_timeout_seconds":1}}"#,
        &["ssh:forward:*:*"],
        Arc::new(Silent),
    );
    let peer = Peer::of(&node).await;
    let refusal = guard("the timeout", peer.direct("slow.example", 80)).await;
    assert_eq!(refusal.unwrap_err(), ChannelOpenFailure::ConnectFailed);
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    let (checked, port) = listener().await;
    let other = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let names = Names::answering(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let node = Node::with_resolver(
        "{}",
        &["ssh:forward:127.0.0.1/32:*"],
        Arc::clone(&names) as _,
    );
    let peer = Peer::of(&node).await;
    let _channel = peer.direct("rebinding.example", port).await.unwrap();
    guard("the checked target", checked.accept()).await.unwrap();
    assert_eq!(names.asked(), 1, "one look-up");
    // The answer is another one now, and no longer granted.
    let refusal = peer.direct("rebinding.example", port).await.unwrap_err();
    assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);
    let nobody = tokio::time::timeout(Duration::from_millis(50), other.accept()).await;
    assert!(nobody.is_err(), "the other address was not tried");
}

#[tokio::test]
async fn a_name_with_a_denied_address_is_refused_whatever_else_it_has() {
    let (_target, port) = listener().await;
    let names = Names::answering(&[&["127.0.0.1", "127.0.0.9"], &["::ffff:127.0.0.9"]]);
    let node = Node::with_resolver(
        r#"{"forwarding":{"rules":[{"target":"127.0.0.9/32:*","action":"deny"}]}}"#,
        &["ssh:forward:*:*"],
        Arc::clone(&names) as _,
    );
    let peer = Peer::of(&node).await;
    for host in [
        "mixed.example",
        "mapped.example",
        "::ffff:127.0.0.9",
        "127.0.0.9",
    ] {
        let refusal = peer.direct(host, port).await.unwrap_err();
        assert_eq!(
            refusal,
            ChannelOpenFailure::AdministrativelyProhibited,
            "{host}"
        );
    }
    assert_eq!(names.asked(), 2);
}

#[tokio::test]
async fn who_may_go_nowhere_makes_no_look_ups() {
    let names = Names::answering(&[]);
    let node = Node::with_resolver("{}", &["ssh:forward:db.example:1"], Arc::clone(&names) as _);
    let peer = Peer::of(&node).await;
    for (host, port) in [("other.example", 1), ("db.example", 2)] {
        let refusal = peer.direct(host, port).await.unwrap_err();
        assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);
    }
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn the_unspecified_address_is_the_loopback() {
    let (_target, port) = listener().await;
    let node = Node::with(
        r#"{"forwarding":{"rules":[{"target":"127.0.0.0/8:*","action":"deny"},{"target":"[::1]:*","action":"deny"}]}}"#,
        &["ssh:forward:*:*"],
    );
    let peer = Peer::of(&node).await;
    for host in [
        "0.0.0.0",
        "::",
        "[::]",
        "::ffff:0.0.0.0",
        "::1%lo",
        "localhost",
        "LOCALHOST.",
    ] {
        let refusal = peer.direct(host, port).await.unwrap_err();
        assert_eq!(
            refusal,
            ChannelOpenFailure::AdministrativelyProhibited,
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_listener_on_any_port_lives_until_it_is_cancelled() {
    let node = Node::with("{}", &["ssh:listen:127.0.0.1:0"]);
    let mut peer = Peer::of(&node).await;
    let port = peer.session.tcpip_forward("127.0.0.1", 0).await.unwrap();
    let port = u16::try_from(port).unwrap();
    let mut outside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut channel, asked) = peer.incoming().await;
    assert_eq!(asked, format!("127.0.0.1:{port}"));
    outside.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut channel, 5).await, b"hello");
    peer.session
        .cancel_tcpip_forward("127.0.0.1", port.into())
        .await
        .unwrap();
    guard("the end of the listener", async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // What came in before goes on.
    channel.data(&b"still here"[..]).await.unwrap();
    let mut heard = [0; 10];
    guard("a word", outside.read_exact(&mut heard))
        .await
        .unwrap();
    assert_eq!(&heard, b"still here");
    let gone = peer.session.cancel_tcpip_forward("127.0.0.1", port.into());
    assert!(gone.await.is_err(), "there is nothing left to cancel");
}

#[tokio::test]
async fn listeners_end_with_the_session() {
    let node = Node::with("{}", &["ssh:listen:localhost:*"]);
    let peer = Peer::of(&node).await;
    let port = peer.session.tcpip_forward("localhost", 0).await.unwrap();
    let port = u16::try_from(port).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    peer.end().await;
    node.idle().await;
    assert_eq!(node.status()["listeners"], 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn listeners_that_cannot_be_are_refused() {
    let (_taken, port) = listener().await;
    let node = Node::with(
        r#"{"limits":{"max_listeners":1}}"#,
        &["ssh:listen:*:*", "ssh:streamlocal:/tmp/*"],
    );
    let peer = Peer::of(&node).await;
    for (address, port) in [
        ("127.0.0.1", u32::from(port)),
        ("127.0.0.1", 80),
        ("127.0.0.1", 65_536),
        ("192.0.2.1", 0),
        ("some.name.example", 0),
        ("a\0b", 0),
    ] {
        let outcome = guard("an answer", peer.session.tcpip_forward(address, port)).await;
        assert!(outcome.is_err(), "{address}:{port}");
    }
    let port = peer.session.tcpip_forward("127.0.0.1", 0).await.unwrap();
    for address in ["127.0.0.1", "::1"] {
        let outcome = peer.session.tcpip_forward(address, port).await;
        assert!(outcome.is_err(), "twice, or one too many");
    }
    assert_eq!(node.status()["listeners"], 1);
}

#[tokio::test]
async fn unix_sockets_are_forwarded_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let scopes = [
        format!("ssh:streamlocal:{}", path("served")),
        format!("ssh:streamlocal:{}", path("offered")),
    ];
    let node = Node::with("{}", &scopes.each_ref().map(String::as_str));
    let mut peer = Peer::of(&node).await;
    // Towards the node.
    let target = UnixListener::bind(path("served")).unwrap();
    let mut channel = peer
        .session
        .channel_open_direct_streamlocal(path("served"))
        .await
        .unwrap();
    let (mut socket, _) = target.accept().await.unwrap();
    socket.write_all(b"served").await.unwrap();
    assert_eq!(read(&mut channel, 6).await, b"served");
    drop(target);
    let refusal = refused(
        peer.session
            .channel_open_direct_streamlocal(path("served"))
            .await,
    );
    assert_eq!(refusal, ChannelOpenFailure::ConnectFailed, "nobody listens");
    let refusal = refused(
        peer.session
            .channel_open_direct_streamlocal(path("other"))
            .await,
    );
    assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);

    // From the node.
    let offered = path("offered");
    peer.session.streamlocal_forward(&offered).await.unwrap();
    let mode = std::fs::metadata(&offered).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut outside = UnixStream::connect(&offered).await.unwrap();
    let (mut channel, asked) = peer.incoming().await;
    assert_eq!(asked, offered);
    outside.write_all(b"offered").await.unwrap();
    assert_eq!(read(&mut channel, 7).await, b"offered");
    peer.session
        .cancel_streamlocal_forward(&offered)
        .await
        .unwrap();
    eventually("the removal", || !std::path::Path::new(&offered).exists()).await;
    std::fs::write(&offered, "in the way").unwrap();
    assert!(peer.session.streamlocal_forward(&offered).await.is_err());
    assert_eq!(std::fs::read_to_string(&offered).unwrap(), "in the way");
}

#[tokio::test]
async fn what_is_no_longer_granted_ends_and_the_rest_goes_on() {
    let (target, port) = listener().await;
    let (other, other_port) = listener().await;
    let keep = format!("ssh:forward:127.0.0.1:{port}");
    let lose = format!("ssh:forward:127.0.0.1:{other_port}");
    let node = Node::with("{}", &[&keep, &lose, "ssh:listen:127.0.0.1:0", "ssh:exec"]);
    let peer = Peer::of(&node).await;
    let mut kept = peer.direct("127.0.0.1", port).await.unwrap();
    let (mut kept_socket, _) = target.accept().await.unwrap();
    let mut lost = peer.direct("127.0.0.1", other_port).await.unwrap();
    let (mut lost_socket, _) = other.accept().await.unwrap();
    let listening = peer.session.tcpip_forward("127.0.0.1", 0).await.unwrap();
    let mut command = peer.session.channel_open_session().await.unwrap();
    command.exec(true, "sleep 1000").await.unwrap();
    eventually("the command", || node.status()["children"] == 1).await;

    node.identities.add(&node.user, identity("alice", &[&keep]));
    node.handler
        .control(r#"{"command":"identities_changed"}"#)
        .unwrap();
    closed(&mut lost).await;
    closed(&mut command).await;
    let mut end = [0];
    let end = guard("the end of the target", lost_socket.read(&mut end)).await;
    assert!(matches!(end, Ok(0) | Err(_)));
    eventually("the end of the rest", || {
        let status = node.status();
        status["children"] == 0 && status["listeners"] == 0
    })
    .await;
    let listening = u16::try_from(listening).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", listening)).await.is_err());
    kept.data(&b"still here"[..]).await.unwrap();
    let mut heard = [0; 10];
    guard("a word", kept_socket.read_exact(&mut heard))
        .await
        .unwrap();
    let refusal = peer.direct("127.0.0.1", other_port).await.unwrap_err();
    assert_eq!(refusal, ChannelOpenFailure::AdministrativelyProhibited);

    // A rule takes the last one.
    let rule = r#"{"target":"*:*","action":"deny","principals":["alice"]}"#;
    node.handler
        .reconfigure(&format!(r#"{{"forwarding":{{"rules":[{rule}]}}}}"#))
        .unwrap();
    closed(&mut kept).await;
    assert_eq!(node.status()["sessions"], 1);

    // And without an identity there is no session.
    node.identities.remove(&node.user);
    node.handler
        .control(r#"{"command":"identities_changed"}"#)
        .unwrap();
    guard("the end of the session", async {
        while !peer.session.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    node.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_never_reads_is_closed_and_the_others_keep_their_bytes() {
    const OTHERS: usize = 8;
    const AMOUNT: usize = 24 << 20;
    let (stuck, stuck_port) = listener().await;
    let (target, port) = listener().await;
    let node = Node::with(
        r#"{"limits":{"stalled_channel_seconds":2}}"#,
        &["ssh:forward:127.0.0.1:*"],
    );
    let peer = Arc::new(Peer::of(&node).await);
    // Stays open, so that there is somebody to be held up.
    let _bystander = peer.direct("127.0.0.1", port).await.unwrap();
    let _bystanding = target.accept().await.unwrap();
    let stuck_channel = peer.direct("127.0.0.1", stuck_port).await.unwrap();
    let (_never_read, _) = stuck.accept().await.unwrap();
    let (mut hears, tells) = stuck_channel.split();
    let stuffing = tokio::spawn(async move {
        let chunk = vec![0; 1 << 20];
        let stuff = async {
            for _ in 0..1024 {
                tells.data(&chunk[..]).await.unwrap();
            }
            panic!("a gigabyte went into a target that reads nothing");
        };
        let end = async { while !matches!(hears.wait().await, Some(ChannelMsg::Close) | None) {} };
        tokio::select! {
            () = stuff => {}
            () = end => {}
        }
    });
    let mut uploads = Vec::new();
    for seed in 0..OTHERS {
        let channel = peer.direct("127.0.0.1", port).await.unwrap();
        let (mut socket, _) = target.accept().await.unwrap();
        uploads.push(tokio::spawn(async move {
            let sent = noise(AMOUNT, seed as u64);
            let receive = async {
                let mut received = Vec::new();
                socket.read_to_end(&mut received).await.unwrap();
                received
            };
            let send = async {
                channel.data(&sent[..]).await.unwrap();
                channel.eof().await.unwrap();
            };
            let ((), received) = tokio::join!(send, receive);
            assert_eq!(sha256(&received), sha256(&sent));
        }));
    }
    for upload in uploads {
        guard("an upload", upload).await.unwrap();
    }
    guard("the end of the stuck one", stuffing).await.unwrap();
    assert_eq!(node.status()["stalled_total"], 1);
    guard("a sign of life", peer.session.send_ping())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_target_gets_every_byte() {
    let (slow, slow_port) = listener().await;
    let (target, port) = listener().await;
    let node = Node::with(
        r#"{"limits":{"stalled_channel_seconds":2,"channel_buffer_bytes":65536}}"#,
        &["ssh:forward:127.0.0.1:*"],
    );
    let peer = Peer::of(&node).await;
    // Another channel is open, so that a stall would count.
    let _other = peer.direct("127.0.0.1", port).await.unwrap();
    let _other_socket = target.accept().await.unwrap();
    let channel = peer.direct("127.0.0.1", slow_port).await.unwrap();
    let (mut socket, _) = slow.accept().await.unwrap();
    let sent = noise(12 << 20, 3);
    let send = async {
        channel.data(&sent[..]).await.unwrap();
        channel.eof().await.unwrap();
    };
    let receive = async {
        let mut received = Vec::new();
        let mut chunk = vec![0; 256 << 10];
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match socket.read(&mut chunk).await.unwrap() {
                0 => return received,
                read => received.extend_from_slice(&chunk[..read]),
            }
        }
    };
    let ((), received) = guard("the slow one", async { tokio::join!(send, receive) }).await;
    assert_eq!(sha256(&received), sha256(&sent));
    assert_eq!(node.status()["stalled_total"], 0);
}

#[tokio::test]
async fn explanations_are_the_engines_own() {
    let node = Node::with(
        r#"{"forwarding":{"rules":[{"target":"10.0.0.0/8:*","action":"deny"}]}}"#,
        &[],
    );
    let ask = |request: &str| -> serde_json::Value {
        let request = format!(
            r#"{{"command":"explain","identity":{{"id":"bob","scopes":["ssh:forward:db.example:5432","ssh:exec:ls"]}},"request":{request}}}"#
        );
        serde_json::from_str(&node.handler.control(&request).unwrap()).unwrap()
    };
    let verdict =
        ask(r#"{"kind":"forward","host":"DB.example","port":5432,"addresses":["192.0.2.1"]}"#);
    assert_eq!(verdict["allowed"], true, "{verdict}");
    assert_eq!(verdict["scope"], "ssh:forward:db.example:5432");
    let verdict =
        ask(r#"{"kind":"forward","host":"db.example","port":5432,"addresses":["10.1.2.3"]}"#);
    assert_eq!(verdict["allowed"], false, "{verdict}");
    assert_eq!(verdict["rule"]["pointer"], "/forwarding/rules/0");
    let verdict = ask(r#"{"kind":"forward","host":"db.example","port":5432}"#);
    assert_eq!(verdict["allowed"], true, "{verdict}");
    assert!(
        verdict["reason"]
            .as_str()
            .unwrap()
            .contains("not known here"),
        "{verdict}"
    );
    assert_eq!(ask(r#"{"kind":"exec","command":"ls -l"}"#)["allowed"], true);
    assert_eq!(ask(r#"{"kind":"exec","command":"id"}"#)["allowed"], false);
    assert_eq!(ask(r#"{"kind":"shell"}"#)["allowed"], false);
    assert_eq!(ask(r#"{"kind":"env","name":"LANG"}"#)["allowed"], true);
    assert!(node.handler.control(r#"{"command":"dance"}"#).is_err());
}

#[tokio::test]
async fn a_connection_outlives_its_cancelled_listener_but_not_the_permission() {
    let node = Node::with("{}", &["ssh:listen:127.0.0.1:0"]);
    let mut peer = Peer::of(&node).await;
    let port = peer.session.tcpip_forward("127.0.0.1", 0).await.unwrap();
    let address = ("127.0.0.1", u16::try_from(port).unwrap());
    let mut outside = TcpStream::connect(address).await.unwrap();
    let (mut channel, _) = peer.incoming().await;
    peer.session
        .cancel_tcpip_forward("127.0.0.1", port)
        .await
        .unwrap();
    outside.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut channel, 5).await, b"hello");
    node.identities.add(&node.user, identity("alice", &[]));
    node.handler
        .control(r#"{"command":"identities_changed"}"#)
        .unwrap();
    closed(&mut channel).await;
}

#[tokio::test]
async fn any_port_is_not_one_that_a_rule_denies() {
    let rules = |last| {
        format!(
            r#"{{"forwarding":{{"rules":[{{"target":"listen:*:1024-{last}","action":"deny"}}]}}}}"#
        )
    };
    let node = Node::with(&rules(65_535), &["ssh:listen:127.0.0.1:*"]);
    let peer = Peer::of(&node).await;
    assert!(peer.session.tcpip_forward("127.0.0.1", 0).await.is_err());
    // And it is taken back when a rule comes to deny it.
    node.handler.reconfigure("{}").unwrap();
    guard("the listener", async {
        while peer.session.tcpip_forward("127.0.0.1", 0).await.is_err() {}
    })
    .await;
    node.handler.reconfigure(&rules(65_535)).unwrap();
    eventually("the end of the listener", || {
        node.status()["listeners"] == 0
    })
    .await;
}

#[tokio::test]
async fn links_do_not_lead_around_rules_about_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("open")).unwrap();
    std::fs::create_dir(path("closed")).unwrap();
    std::os::unix::fs::symlink(path("closed"), path("open/alias")).unwrap();
    let _target = UnixListener::bind(path("closed/s")).unwrap();
    std::os::unix::fs::symlink(path("closed/s"), path("open/s")).unwrap();
    let config = format!(
        r#"{{"forwarding":{{"rules":[{{"target":"streamlocal:{}/*","action":"deny"}}]}}}}"#,
        path("closed")
    );
    let scopes = ["open/*", "open/alias/*"].map(|name| format!("ssh:streamlocal:{}", path(name)));
    let node = Node::with(&config, &scopes.each_ref().map(String::as_str));
    let peer = Peer::of(&node).await;
    for name in ["open/s", "open/alias/s", "closed/s"] {
        let opened = peer.session.channel_open_direct_streamlocal(path(name));
        refused(opened.await);
    }
    let listening = peer.session.streamlocal_forward(path("open/alias/new"));
    assert!(listening.await.is_err());
    assert!(!root.join("closed/new").exists());
    peer.session
        .streamlocal_forward(path("open/new"))
        .await
        .unwrap();
}

#[tokio::test]
async fn no_link_leads_out_of_a_granted_directory_whatever_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(directory.path()).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    // Longer than the path of a socket may be.
    let deep = format!("closed/{}", ["d".repeat(60).as_str(); 3].join("/"));
    for name in ["open/inside", &deep] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    std::os::unix::fs::symlink(path(&deep), path("open/deep")).unwrap();
    std::os::unix::fs::symlink(path("closed"), path("open/out")).unwrap();
    std::os::unix::fs::symlink("inside", path("open/in")).unwrap();
    for name in ["s", "deep/s", "out/s", "in/s"] {
        // By a name that fits.
        let file = std::fs::File::open(root.join("open").join(name).parent().unwrap()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        drop(std::os::unix::net::UnixListener::bind(format!("/proc/self/fd/{fd}/s")).unwrap());
    }
    let config = format!(
        r#"{{"forwarding":{{"rules":[{{"target":"streamlocal:{}/**","action":"deny"}}]}}}}"#,
        path("closed")
    );
    let granted = format!("ssh:streamlocal:{}/**", path("open"));
    let node = Node::with(&config, &[&granted]);
    let peer = Peer::of(&node).await;
    for (name, refusal) in [
        (
            "open/deep/s",
            ChannelOpenFailure::AdministrativelyProhibited,
        ),
        ("open/out/s", ChannelOpenFailure::AdministrativelyProhibited),
        ("closed/s", ChannelOpenFailure::AdministrativelyProhibited),
        // Nobody listens there any more, but they may ask.
        ("open/in/s", ChannelOpenFailure::ConnectFailed),
        ("open/s", ChannelOpenFailure::ConnectFailed),
    ] {
        let opened = peer.session.channel_open_direct_streamlocal(path(name));
        assert_eq!(refused(opened.await), refusal, "{name}");
    }
    for name in ["open/deep/new", "open/out/new"] {
        assert!(peer.session.streamlocal_forward(path(name)).await.is_err());
    }
    assert!(!root.join("closed/new").exists() && !root.join(&deep).join("new").exists());
    let inside = peer.session.streamlocal_forward(path("open/in/new"));
    inside.await.unwrap();
}

#[tokio::test]
async fn rules_that_change_during_a_login_hold_after_it() {
    let node = Node::new();
    let (near, far) = duplex(PIPE);
    let _served = node.serve_stream(far);
    let options = alknet_ssh::ClientOptions::default();
    let mut client = node.connect(near, &options).await.unwrap();
    node.handler
        .reconfigure(r#"{"services":{"exec":{"enabled":false}}}"#)
        .unwrap();
    let user = Arc::clone(&node.user);
    client.authenticate("someone", user).await.unwrap();
    let refused = guard("an answer", support::run(&client, "true", b"")).await;
    support::assert_denied(&refused.unwrap(), "services.exec.enabled = true");
}

#[tokio::test]
async fn many_unread_channels_do_not_hold_the_connection_for_long() {
    let config = r#"{"limits":{"session_buffer_bytes":2097152,"stalled_channel_seconds":1000}}"#;
    let node = Node::with(config, &["ssh:exec"]);
    let peer = Peer::of(&node).await;
    let mut stuffed = Vec::new();
    for _ in 0..4 {
        let channel = peer.session.channel_open_session().await.unwrap();
        channel.exec(true, "sleep 1000").await.unwrap();
        let (_hears, tells) = channel.split();
        stuffed.push(tokio::spawn(async move {
            let chunk = vec![0; 1 << 20];
            while tells.data(&chunk[..]).await.is_ok() {}
        }));
    }
    let bystander = async {
        let mut channel = peer.session.channel_open_session().await.unwrap();
        channel.exec(true, "echo hi").await.unwrap();
        read(&mut channel, 3).await
    };
    assert_eq!(guard("the bystander", bystander).await, b"hi\n");
    for task in stuffed {
        task.abort();
    }
}

#[tokio::test]
async fn sessions_can_be_listed_and_closed() {
    let node = Node::with("{}", &["ssh:exec"]);
    let list = || -> serde_json::Value {
        let answer = node.handler.control(r#"{"command":"sessions"}"#).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    assert_eq!(list()["sessions"], serde_json::json!([]));
    let peer = Peer::of(&node).await;
    let other = Peer::of(&node).await;
    let _channel = other.session.channel_open_session().await.unwrap();
    let sessions = list();
    assert_eq!(sessions["sessions"][0]["identity"], "alice", "{sessions}");
    assert_eq!(sessions["sessions"][1]["channels"], 1, "{sessions}");
    let id = &sessions["sessions"][0]["id"];
    let close = format!(r#"{{"command":"close_session","id":{id}}}"#);
    node.handler.control(&close).unwrap();
    guard("the end of the session", async {
        while !peer.session.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(!other.session.is_closed());
    eventually("the end of the entry", || {
        list()["sessions"].as_array().unwrap().len() == 1
    })
    .await;
    assert!(node.handler.control(&close).is_err(), "it is gone");
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn read(channel: &mut Channel<Msg>, length: usize) -> Vec<u8> {
    let mut received = Vec::new();
    guard("data", async {
        while received.len() < length {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => received.extend_from_slice(&data),
                Some(_) => {}
                None => panic!("the channel ended after {received:?}"),
            }
        }
    })
    .await;
    received
}

async fn read_to_eof(channel: &mut Channel<Msg>) -> Vec<u8> {
    let mut received = Vec::new();
    guard("the end of data", async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => received.extend_from_slice(&data),
                Some(ChannelMsg::Eof) => return,
                Some(_) => {}
                None => panic!("no EOF"),
            }
        }
    })
    .await;
    received
}

async fn closed(channel: &mut Channel<Msg>) {
    guard("the close of a channel", async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Close) | None => return,
                Some(_) => {}
            }
        }
    })
    .await;
}

fn refused(outcome: Result<Channel<Msg>, russh::Error>) -> ChannelOpenFailure {
    match outcome {
        Err(russh::Error::ChannelOpenFailure(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the channel was opened"),
    }
}

/// Answers with one list of addresses after the other, then with none.
#[derive(Debug)]
struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolver for Names {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        port: u16,
        _: LookUpSlot,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or_default();
        let addresses = answer.into_iter().map(|ip| SocketAddr::new(ip, port));
        let addresses = addresses.collect();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A name server that never answers.
#[derive(Debug)]
struct Silent;

impl Resolver for Silent {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        _: u16,
        _: LookUpSlot,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::pending())
    }
}

/// A logged-in session of russh's own client.
struct Peer {
    session: Handle<Incoming>,
    incoming: mpsc::UnboundedReceiver<(Channel<Msg>, String)>,
    served: Served,
}

impl Peer {
    async fn of(node: &Node) -> Self {
        let (sender, incoming) = mpsc::unbounded_channel();
        let (session, served) = node.russh(PIPE, Incoming(sender)).await;
        Self {
            session,
            incoming,
            served,
        }
    }

    async fn direct(&self, host: &str, port: u16) -> Result<Channel<Msg>, ChannelOpenFailure> {
        let opened = self
            .session
            .channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 1);
        match guard("an answer", opened).await {
            Ok(channel) => Ok(channel),
            Err(russh::Error::ChannelOpenFailure(reason)) => Err(reason),
            Err(other) => panic!("{other}"),
        }
    }

    /// A channel that the node opened, and where the connection came in.
    async fn incoming(&mut self) -> (Channel<Msg>, String) {
        guard("a forwarded connection", self.incoming.recv())
            .await
            .unwrap()
    }

    async fn end(self) {
        drop(self.session);
        self.served.finish().await;
    }
}

struct Incoming(mpsc::UnboundedSender<(Channel<Msg>, String)>);

impl russh::client::Handler for Incoming {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let _ = self.0.send((channel, format!("{address}:{port}")));
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let _ = self.0.send((channel, path.to_owned()));
        Ok(())
    }
}
