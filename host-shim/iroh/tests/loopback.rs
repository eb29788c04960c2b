//! Two endpoints on the loopback interface: keys, streams, addresses, errors.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use alknet_handler::{Connection as _, Identity, StreamError};
use alknet_iroh::{
    ConnectError, Endpoint, IrohConnection, IrohStream, NodeAddress, Options, Way, bind, connect,
    way_of,
};
use alknet_quic::{NodeKey, NodeSecret, PeerConnection as _, TransportSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const ALPN: &[u8] = b"alknet/test";
const HANG: Duration = Duration::from_secs(60);

fn secret(seed: u8) -> NodeSecret {
    NodeSecret::from_seed(&[seed; 32]).unwrap()
}

async fn node(seed: u8) -> (Endpoint, SocketAddr) {
    let options = Options {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        serves: true,
        alpns: vec![ALPN.to_vec()],
        ..Options::default()
    };
    let endpoint = bind(&secret(seed), &options).await.unwrap();
    let addr = *endpoint.bound_sockets().first().unwrap();
    (endpoint, addr)
}

async fn client(seed: u8) -> Endpoint {
    bind(&secret(seed), &Options::default()).await.unwrap()
}

fn address(key: NodeKey, addr: SocketAddr) -> NodeAddress {
    NodeAddress {
        key,
        direct: vec![addr],
        relays: Vec::new(),
        discovery: false,
    }
}

async fn accepted(endpoint: &Endpoint) -> IrohConnection {
    let incoming = endpoint.accept().await.unwrap();
    let connection = incoming.accept().unwrap().await.unwrap();
    IrohConnection::new(connection, TransportSettings::default())
}

#[tokio::test]
async fn both_sides_know_each_others_key_and_bytes_go_both_ways() {
    let (node, addr) = node(1).await;
    assert_eq!(node.id().as_bytes(), secret(1).public().as_bytes());
    let client = client(2).await;
    let serving = async {
        let connection = accepted(&node).await;
        assert_eq!(connection.peer_key(), secret(2).public());
        assert_eq!(connection.remote_alpn(), ALPN);
        assert!(connection.remote_addr().unwrap().ip().is_loopback());
        assert!(!connection.is_relayed());
        assert_eq!(connection.away(), None);
        let mut stream = connection.accept_bi().await.unwrap();
        connection.set_identity(Identity::default()).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        stream.write_all(&received).await.unwrap();
        stream.shutdown().await.unwrap();
        let end = connection.accept_bi().await.err().unwrap();
        assert!(matches!(end, StreamError::ConnectionClosed), "{end:?}");
    };
    let asking = async {
        let node = address(secret(1).public(), addr);
        let connection = connect(&client, &node, ALPN).await.unwrap();
        assert_eq!(way_of(&connection), Way::Direct(addr));
        let mut stream = IrohStream::new(connection.open_bi().await.unwrap());
        // More than a stranger's window.
        let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let (received, ()) = tokio::join!(
            async {
                let mut received = Vec::new();
                read.read_to_end(&mut received).await.unwrap();
                received
            },
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            }
        );
        assert!(received == sent, "{} bytes came back", received.len());
        connection.close(0_u32.into(), b"");
    };
    timeout(HANG, async { tokio::join!(serving, asking) })
        .await
        .unwrap();
    client.close().await;
    node.close().await;
}

#[tokio::test]
async fn an_impostor_is_told_from_the_node() {
    let (impostor, addr) = node(3).await;
    let client = client(4).await;
    let expected = secret(1).public();
    let answering = async {
        while let Some(incoming) = impostor.accept().await {
            let _ = incoming.await;
        }
    };
    let at = address(expected, addr);
    let error = tokio::select! {
        outcome = connect(&client, &at, ALPN) => outcome.unwrap_err(),
        () = answering => panic!("the endpoint was closed"),
        () = tokio::time::sleep(HANG) => panic!("no end"),
    };
    let ConnectError::WrongKey { expected: named } = error else {
        panic!("{error:?}");
    };
    assert_eq!(named, expected);
}

#[tokio::test]
async fn a_protocol_that_is_not_served_is_named() {
    let (node, addr) = node(5).await;
    let client = client(6).await;
    let answering = async {
        while let Some(incoming) = node.accept().await {
            let _ = incoming.await;
        }
    };
    let at = address(secret(5).public(), addr);
    let error = tokio::select! {
        outcome = connect(&client, &at, b"alknet/other") => outcome.unwrap_err(),
        () = answering => panic!("the endpoint was closed"),
        () = tokio::time::sleep(HANG) => panic!("no end"),
    };
    assert!(
        matches!(&error, ConnectError::AlpnRefused { alpn } if alpn == "alknet/other"),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_leads_nowhere_is_named() {
    let client = client(7).await;
    let nowhere = NodeAddress {
        key: secret(1).public(),
        direct: Vec::new(),
        relays: Vec::new(),
        discovery: false,
    };
    let error = timeout(HANG, connect(&client, &nowhere, ALPN)).await;
    let error = error.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::NoWay { .. }), "{error:?}");
    let itself = NodeAddress {
        key: secret(7).public(),
        ..nowhere.clone()
    };
    let error = connect(&client, &itself, ALPN).await.unwrap_err();
    assert!(matches!(error, ConnectError::Itself { .. }), "{error:?}");
    for (relay, said) in [("ftp://relay", "scheme"), ("relay.example", "not the URL")] {
        let node = NodeAddress {
            relays: vec![relay.to_owned()],
            ..nowhere.clone()
        };
        let error = connect(&client, &node, ALPN).await.unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(relay), "{error}");
    }
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let (_node, addr) = node(8).await;
    let options = Options {
        listen: Some(addr),
        ..Options::default()
    };
    let error = bind(&secret(9), &options).await.unwrap_err().to_string();
    assert!(error.contains(&addr.to_string()), "{error}");
    assert!(error.contains("another port"), "{error}");
}
