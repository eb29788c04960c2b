//! Our client towards our server: log-in, forwards both ways, and what the
//! caller learns of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use alknet_handler::BoxFuture;
use alknet_ssh::client::{
    AskPassphrase, HostKeyError, HostName, HostTrust, Identities, KeyFile, KeyFileError,
    OpenRefusal, RemoteListener, TriedOutcome, record_host,
};
use alknet_ssh::{Client, ClientError, ClientOptions};
use support::{Node, guard, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

const PIPE: usize = 64 * 1024;

struct Answer(Option<&'static str>);

impl AskPassphrase for Answer {
    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        Box::pin(async { self.0.map(|text| Zeroizing::new(text.to_owned())) })
    }
}

#[tokio::test]
async fn a_recorded_host_is_trusted_and_an_unknown_one_is_not() {
    let node = Node::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_hosts");
    let name = HostName::new("node", 4433);
    let trust = || HostTrust::new(name.clone()).known_hosts(&path).unwrap();
    let options = ClientOptions::default();

    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let refused = Client::connect_to(near, &options, trust()).await;
    let Err(ClientError::HostKey(error)) = refused else {
        panic!("{refused:?}");
    };
    let HostKeyError::Unknown { key: shown, .. } = *error else {
        panic!("{error}");
    };
    assert_eq!(shown.key_data(), node.host_key.public_key().key_data());
    record_host(&path, &name, &shown).unwrap();

    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    Client::connect_to(near, &options, trust()).await.unwrap();

    record_host(&path, &name, key().public_key()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    std::fs::write(&path, second).unwrap();
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let refused = Client::connect_to(near, &options, trust()).await;
    let error = refused.err().unwrap().to_string();
    assert!(
        error.contains("HAS CHANGED") && error.contains(":1)"),
        "{error}"
    );
}

#[tokio::test]
async fn the_first_accepted_key_logs_in_and_refusals_are_listed() {
    let node = Node::new();
    let unlocked = |name: &str, key| KeyFile::unlocked(Path::new(name), key);
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let mut client = node.connect(near, &ClientOptions::default()).await.unwrap();
    let mut identities = Identities {
        files: vec![unlocked("a", key()), unlocked("b", key())],
        unusable: vec![("c".into(), KeyFileError::NotUnderstood)],
        ..Identities::default()
    };
    let refused = client
        .log_in("someone", &mut identities, &Answer(None))
        .await;
    let Err(ClientError::NoKeyAccepted { tried, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(tried.len(), 3);
    assert!(matches!(tried[0].outcome, TriedOutcome::Refused));
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("\n  a (ssh-ed25519 SHA256:"), "{said}");
    assert!(said.contains("\n  c: is not a private key"), "{said}");

    identities.files = vec![unlocked("a", key()), unlocked("b", Arc::clone(&node.user))];
    client
        .log_in("someone", &mut identities, &Answer(None))
        .await
        .unwrap();
}

/// A logged-in client of a node whose user may do what the scopes say.
async fn logged_in(config: &str, scopes: &[&str]) -> Client {
    let node = Node::with(config, scopes);
    let (client, served) = node.client(PIPE).await;
    // The server lives on in its tasks.
    std::mem::forget((node, served));
    client
}

#[tokio::test]
async fn a_target_is_reached_and_each_direction_ends_by_itself() {
    let client = logged_in("{}", &["ssh:forward:127.0.0.1:*"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).await.unwrap();
        socket.write_all(&received).await.unwrap();
    });
    guard("an echo", async {
        let stream = client.direct_tcpip("127.0.0.1", port).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let sent = vec![7; 5 << 20];
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
    })
    .await;
}

#[tokio::test]
async fn a_refused_target_and_a_forbidden_one_are_told_apart() {
    let client = logged_in("{}", &["ssh:forward:127.0.0.1:*"]).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = client.direct_tcpip("127.0.0.1", port).await;
    assert!(
        matches!(
            refused,
            Err(ClientError::ChannelRefused(OpenRefusal::Refused))
        ),
        "{refused:?}"
    );
    let forbidden = client.direct_tcpip("127.0.0.2", port).await;
    assert!(
        matches!(
            forbidden,
            Err(ClientError::ChannelRefused(OpenRefusal::Prohibited))
        ),
        "{forbidden:?}"
    );
    let forbidden = client.direct_streamlocal("/nowhere").await;
    assert!(matches!(forbidden, Err(ClientError::ChannelRefused(_))));
}

#[tokio::test]
async fn the_server_listens_and_hands_over_connections() {
    let client = logged_in("{}", &["ssh:listen:127.0.0.1:*"]).await;
    guard("connections", async {
        for _ in 0..20 {
            let any_port = RemoteListener::Tcp {
                address: "127.0.0.1".to_owned(),
                port: 0,
            };
            let mut forward = client.forward(any_port).await.unwrap();
            let RemoteListener::Tcp { port, .. } = *forward.listener() else {
                panic!("{forward:?}");
            };
            let mut socket = TcpStream::connect(("127.0.0.1", port as u16))
                .await
                .unwrap();
            socket.write_all(b"hello").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut incoming = forward.accept().await.unwrap();
            assert_eq!(incoming.from.unwrap().0, "127.0.0.1");
            let mut received = Vec::new();
            incoming.stream.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"hello");
            incoming.stream.write_all(b"bye").await.unwrap();
            drop(incoming.stream);
            received.clear();
            socket.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"bye");

            client.cancel_forward(forward.listener()).await.unwrap();
            assert!(
                TcpStream::connect(("127.0.0.1", port as u16))
                    .await
                    .is_err()
            );
        }
        let elsewhere = RemoteListener::Tcp {
            address: "127.0.0.2".to_owned(),
            port: 0,
        };
        let refused = client.forward(elsewhere).await;
        assert!(matches!(refused, Err(ClientError::ForwardRefused)));
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_no_end_of_file() {
    let node = Node::with("{}", &["ssh:forward:127.0.0.1:*"]);
    let (client, _served) = node.client(PIPE).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stream = client.direct_tcpip("127.0.0.1", port).await.unwrap();
    let _held = listener.accept().await.unwrap();
    client.ping().await.unwrap();
    assert!(client.server_version().starts_with("SSH-2.0-alknet"));
    drop(client);
    let error = guard("the end", stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}
