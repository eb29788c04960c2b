//! A node's endpoint and a client's, over loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alknet_handler::{Connection, Identity, StreamError};
use alknet_quic::{
    Client, ClientEndpoint, ConnectError, NodeKey, NodeSecret, QuicConnection, QuicStream, Server,
    TransportSettings, Trust, bind_client, bind_endpoint, connect, negotiated_alpn, peer_key,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SSH: &[u8] = b"alknet/ssh";

struct Node {
    endpoint: quinn::Endpoint,
    server: Server,
    key: NodeKey,
    addr: SocketAddr,
}

fn secret(seed: u8) -> NodeSecret {
    NodeSecret::from_seed(&[seed; 32]).unwrap()
}

fn node(alpns: &[&[u8]]) -> Node {
    node_at("127.0.0.1:0", alpns)
}

fn node_at(addr: &str, alpns: &[&[u8]]) -> Node {
    let secret = secret(1);
    let server = Server::new(&secret, &TransportSettings::default()).unwrap();
    let endpoint = bind_endpoint(
        addr.parse().unwrap(),
        server.endpoint_config(),
        config(&server, alpns),
    )
    .unwrap();
    Node {
        addr: endpoint.local_addr().unwrap(),
        endpoint,
        server,
        key: secret.public(),
    }
}

fn config(server: &Server, alpns: &[&[u8]]) -> quinn::ServerConfig {
    let alpns: Vec<_> = alpns.iter().map(|alpn| alpn.to_vec()).collect();
    server.config(&alpns).unwrap()
}

impl Node {
    fn client(&self) -> Client {
        Client {
            trust: Trust::Pinned(self.key),
            key: None,
            alpn: SSH.to_vec(),
            settings: TransportSettings::default(),
        }
    }

    /// Both ends of one connection.
    async fn pair(
        &self,
        client: &Client,
    ) -> (quinn::Connection, quinn::Connection, quinn::Endpoint) {
        let endpoint = bind_client(self.addr).unwrap();
        let (client, server) = tokio::join!(connect(&endpoint, self.addr, client), async {
            self.endpoint.accept().await.unwrap().await.unwrap()
        });
        (client.unwrap(), server, endpoint)
    }

    /// The client's error, with the node accepting in the background.
    async fn refusal(&self, client: &Client) -> ConnectError {
        let accepting = self.endpoint.clone();
        let acceptor = tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                assert!(incoming.await.is_err(), "the handshake must not succeed");
            }
        });
        let endpoint = bind_client(self.addr).unwrap();
        let error = connect(&endpoint, self.addr, client).await.unwrap_err();
        assert!(!acceptor.is_finished());
        acceptor.abort();
        error
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("hangs")
}

#[tokio::test]
async fn a_pinned_node_without_and_with_a_client_key() {
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    assert_eq!(peer_key(&client), Some(node.key));
    assert_eq!(peer_key(&server), None);
    assert_eq!(negotiated_alpn(&server).as_deref(), Some(SSH));

    let with_key = Client {
        key: Some(secret(2)),
        ..node.client()
    };
    let (_client, server, _endpoint) = within(node.pair(&with_key)).await;
    assert_eq!(peer_key(&server), Some(secret(2).public()));
}

#[tokio::test]
async fn an_unknown_node_shows_its_key() {
    let node = node(&[SSH]);
    let undecided = Client {
        trust: Trust::CallerDecides,
        ..node.client()
    };
    let (client, _server, _endpoint) = within(node.pair(&undecided)).await;
    assert_eq!(peer_key(&client), Some(node.key));
}

#[tokio::test]
async fn a_wrong_pin_is_refused_and_both_keys_are_named() {
    let node = node(&[SSH]);
    let other = secret(3).public();
    let wrong = Client {
        trust: Trust::Pinned(other),
        ..node.client()
    };
    let error = within(node.refusal(&wrong)).await;
    let ConnectError::WrongNodeKey {
        expected,
        presented,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!((*expected, *presented), (other, node.key));
    let text = error.to_string();
    assert!(text.contains(&other.to_string()) && text.contains(&node.key.to_string()));
}

#[tokio::test]
async fn an_alpn_the_node_does_not_speak_is_refused_and_the_next_one_served() {
    let node = node(&[b"alknet/other", SSH]);
    let wrong = Client {
        alpn: b"h3".to_vec(),
        ..node.client()
    };
    let error = within(node.refusal(&wrong)).await;
    assert!(
        matches!(&error, ConnectError::AlpnRefused { alpn } if alpn == "h3"),
        "{error:?}"
    );
    within(node.pair(&node.client())).await;
}

#[tokio::test]
async fn the_list_of_alpns_changes_without_a_rebind() {
    let node = node(&[]);
    let error = within(node.refusal(&node.client())).await;
    assert!(
        matches!(error, ConnectError::AlpnRefused { .. }),
        "{error:?}"
    );

    node.endpoint
        .set_server_config(Some(config(&node.server, &[SSH])));
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;

    node.endpoint
        .set_server_config(Some(config(&node.server, &[])));
    let error = within(node.refusal(&node.client())).await;
    assert!(
        matches!(error, ConnectError::AlpnRefused { .. }),
        "{error:?}"
    );
    assert!(client.close_reason().is_none() && server.close_reason().is_none());
}

/// rustls accepts a client without ALPN when its own list is empty.
#[tokio::test]
async fn a_client_without_alpn_is_refused_whatever_the_list() {
    for alpns in [&[][..], &[SSH]] {
        let node = node(alpns);
        let accepting = node.endpoint.clone();
        let acceptor =
            tokio::spawn(async move { accepting.accept().await.unwrap().await.is_err() });

        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(foreign::TakesAnyRawKey))
        .with_client_cert_resolver(Arc::new(foreign::NoRawKey));
        tls.enable_sni = false;
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let endpoint = bind_client(node.addr).unwrap();
        let connecting = endpoint
            .connect_with(quinn::ClientConfig::new(Arc::new(crypto)), node.addr, "x")
            .unwrap();
        assert!(within(connecting).await.is_err());
        assert!(within(acceptor).await.unwrap(), "list {alpns:?}");
    }
}

#[tokio::test]
async fn an_unusable_alpn_is_named() {
    let server = Server::new(&secret(1), &TransportSettings::default()).unwrap();
    for length in [0, 256] {
        let error = server
            .config(&[SSH.to_vec(), vec![b'a'; length]])
            .err()
            .unwrap();
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
}

#[tokio::test]
async fn retry_tokens_outlive_a_change_of_alpns() {
    let node = node(&[SSH]);
    let accepting = node.endpoint.clone();
    let (before, after) = (config(&node.server, &[]), config(&node.server, &[SSH]));
    let acceptor = tokio::spawn(async move {
        accepting.accept().await.unwrap().retry().unwrap();
        accepting.set_server_config(Some(before));
        accepting.set_server_config(Some(after));
        let incoming = accepting.accept().await.unwrap();
        assert!(incoming.remote_address_validated());
        incoming.await.unwrap()
    });
    let endpoint = bind_client(node.addr).unwrap();
    let client = within(connect(&endpoint, node.addr, &node.client())).await;
    assert!(client.is_ok(), "{client:?}");
    within(acceptor).await.unwrap();
}

#[tokio::test]
async fn a_dual_stack_node_serves_both_families() {
    let Ok(_) = std::net::UdpSocket::bind("[::1]:0") else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let mut node = node_at("[::]:0", &[SSH]);
    let port = node.addr.port();
    for ip in ["127.0.0.1", "::1"] {
        node.addr = SocketAddr::new(ip.parse().unwrap(), port);
        within(node.pair(&node.client())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_survives_shutdown_then_close() {
    const SIZE: usize = 1 << 20;
    let node = node(&[SSH]);
    for round in 0..40 {
        let (client, server, _endpoint) = within(node.pair(&node.client())).await;
        let (sender, receiver) = if round % 2 == 0 {
            (client, server)
        } else {
            (server, client)
        };
        let sending = tokio::spawn(async move {
            let mut stream = QuicStream::new(sender.open_bi().await.unwrap());
            stream.write_all(&vec![round; SIZE]).await.unwrap();
            stream.shutdown().await.unwrap();
            sender.close(0u32.into(), b"done");
        });
        let receiving = tokio::spawn(async move {
            let mut stream = QuicStream::new(receiver.accept_bi().await.unwrap());
            let mut chunk = vec![0; 16 * 1024];
            let mut total = 0;
            while total < SIZE {
                let n = stream.read(&mut chunk).await.unwrap();
                assert!(n > 0, "ended after {total} bytes in round {round}");
                total += n;
                if round % 4 < 2 {
                    tokio::task::yield_now().await;
                }
            }
            total
        });
        within(sending).await.unwrap();
        assert_eq!(within(receiving).await.unwrap(), SIZE);
    }
}

#[tokio::test]
async fn a_stream_dropped_unfinished_is_reset() {
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    let mut stream = QuicStream::new(client.open_bi().await.unwrap());
    stream.write_all(b"half a mess").await.unwrap();
    drop(stream);
    let mut received = Vec::new();
    let mut stream = QuicStream::new(within(server.accept_bi()).await.unwrap());
    assert!(within(stream.read_to_end(&mut received)).await.is_err());
}

#[tokio::test]
async fn shutdown_is_over_once_the_peer_has_closed() {
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    let mut stream = QuicStream::new(client.open_bi().await.unwrap());
    stream.write_all(b"x").await.unwrap();
    server.close(0u32.into(), b"");
    within(client.closed()).await;
    within(stream.shutdown()).await.unwrap();
    within(stream.shutdown()).await.unwrap();
}

#[tokio::test]
async fn garbage_datagrams_disturb_nobody() {
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    let noise = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut bytes = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..1500).step_by(3) {
        let datagram: Vec<u8> = (0..length)
            .map(|_| {
                bytes ^= bytes << 13;
                bytes ^= bytes >> 7;
                bytes ^= bytes << 17;
                bytes as u8
            })
            .collect();
        noise.send_to(&datagram, node.addr).unwrap();
    }
    echo_once(&client, &server).await;

    let served = node.endpoint.clone();
    let accepting = tokio::spawn(async move {
        // Noise may look like a first packet; it must only ever fail.
        loop {
            if let Ok(connection) = served.accept().await.unwrap().await {
                return connection;
            }
        }
    });
    let endpoint = bind_client(node.addr).unwrap();
    let client = within(connect(&endpoint, node.addr, &node.client()))
        .await
        .unwrap();
    let server = within(accepting).await.unwrap();
    echo_once(&client, &server).await;
}

async fn echo_once(client: &quinn::Connection, server: &quinn::Connection) {
    let mut near = QuicStream::new(client.open_bi().await.unwrap());
    near.write_all(b"ping").await.unwrap();
    let mut far = QuicStream::new(within(server.accept_bi()).await.unwrap());
    let mut seen = [0; 4];
    within(far.read_exact(&mut seen)).await.unwrap();
    far.write_all(&seen).await.unwrap();
    within(near.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"ping");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_in_both_directions_at_once() {
    const SIZE: usize = 32 << 20;
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    let run = |stream: QuicStream, fill: u8, expect: u8| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            let chunk = vec![fill; 64 * 1024];
            for _ in 0..SIZE / chunk.len() {
                write.write_all(&chunk).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let receiving = async {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), SIZE);
            assert!(all.iter().all(|byte| *byte == expect));
        };
        tokio::join!(sending, receiving);
    };
    let far = tokio::spawn(async move {
        run(QuicStream::new(server.accept_bi().await.unwrap()), 2, 1).await;
        server
    });
    within(run(QuicStream::new(client.open_bi().await.unwrap()), 1, 2)).await;
    within(far).await.unwrap();
}

fn wrapped(connection: quinn::Connection) -> QuicConnection {
    let addr = connection.remote_address();
    QuicConnection::new(connection, addr, TransportSettings::default())
}

#[tokio::test]
async fn a_connection_behind_the_handler_contract() {
    let node = node(&[SSH]);
    let (client, server, _endpoint) = within(node.pair(&node.client())).await;
    let (client, server) = (wrapped(client), wrapped(server));
    assert_eq!(server.remote_alpn(), SSH);
    assert!(server.remote_addr().unwrap().ip().is_loopback());

    let mut near = client.open_bi().await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let mut far = within(server.accept_bi()).await.unwrap();
    let mut seen = [0; 5];
    within(far.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"hello");

    let alice = Identity {
        id: "alice".into(),
        ..Identity::default()
    };
    server.set_identity(alice.clone()).unwrap();
    assert!(server.set_identity(Identity::default()).is_err());
    assert_eq!(server.identity(), Some(&alice));

    server.close(7, "bye");
    let closed = within(client.accept_bi()).await.err();
    assert_eq!(closed, Some(StreamError::ConnectionClosed));
    let reason = client.quinn().close_reason().unwrap().to_string();
    assert!(reason.contains("bye"), "{reason}");
}

/// A client of another make.
mod foreign {
    use rustls::client::ResolvesClientCert;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct TakesAnyRawKey;

    impl ServerCertVerifier for TakesAnyRawKey {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    }

    #[derive(Debug)]
    pub(super) struct NoRawKey;

    impl ResolvesClientCert for NoRawKey {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[SignatureScheme],
        ) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
            None
        }

        fn only_raw_public_keys(&self) -> bool {
            true
        }

        fn has_certs(&self) -> bool {
            false
        }
    }
}

/// A datagram path towards the node that lets nothing back; gives what went
/// each way.
async fn one_way(node: SocketAddr, client: &Client, time: Duration) -> (usize, usize) {
    let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = bind_client(front.local_addr().unwrap()).unwrap();
    let addr = front.local_addr().unwrap();
    let (mut there, mut here) = (0, 0);
    let carrying = async {
        let (mut sent, mut answered) = ([0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                received = front.recv_from(&mut sent) => {
                    let (length, _) = received.unwrap();
                    back.send_to(&sent[..length], node).await.unwrap();
                    there += length;
                }
                received = back.recv_from(&mut answered) => here += received.unwrap().0,
            }
        }
    };
    tokio::select! {
        never = carrying => match never {},
        outcome = connect(&endpoint, addr, client) => panic!("{outcome:?}"),
        () = tokio::time::sleep(time) => {}
    }
    (there, here)
}

#[tokio::test]
async fn nobody_is_sent_more_than_three_times_what_came_from_there() {
    let node = node(&[SSH]);
    let accepting = node.endpoint.clone();
    let acceptor = tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(incoming.into_future());
        }
    });
    let (there, here) = one_way(node.addr, &node.client(), Duration::from_secs(4)).await;
    println!("{there} bytes to the node, {here} bytes from it");
    assert!(there >= 1200 && here > 0, "{there} {here}");
    assert!(here <= 3 * there, "{here} bytes for {there}");
    acceptor.abort();
}

/// A path to a node that may lead to another one later.
async fn path_to(node: SocketAddr) -> (SocketAddr, Arc<Mutex<SocketAddr>>) {
    let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = front.local_addr().unwrap();
    let node = Arc::new(Mutex::new(node));
    let to = Arc::clone(&node);
    tokio::spawn(async move {
        let (mut sent, mut answered) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            tokio::select! {
                received = front.recv_from(&mut sent) => {
                    let (length, from) = received.unwrap();
                    client = Some(from);
                    let to = *to.lock().unwrap();
                    back.send_to(&sent[..length], to).await.unwrap();
                }
                received = back.recv_from(&mut answered) => {
                    let (length, _) = received.unwrap();
                    if let Some(client) = client {
                        front.send_to(&answered[..length], client).await.unwrap();
                    }
                }
            }
        }
    });
    (addr, node)
}

#[tokio::test]
async fn a_node_that_is_back_resets_the_connections_of_before() {
    let before = node(&[SSH]);
    let (addr, leads_to) = path_to(before.addr).await;
    let endpoint = ClientEndpoint::bind(addr).unwrap();
    let key = before.client();
    let (client, _server) = within(async {
        tokio::join!(connect(endpoint.quinn(), addr, &key), async {
            before.endpoint.accept().await.unwrap().await.unwrap()
        })
    })
    .await;
    let client = client.unwrap();
    // As after a crash: the same key, and no memory of anything.
    let after = node(&[SSH]);
    *leads_to.lock().unwrap() = after.addr;
    within(async {
        while client.close_reason().is_none() {
            endpoint.resend();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let reason = client.close_reason();
    assert!(
        matches!(reason, Some(quinn::ConnectionError::Reset)),
        "{reason:?}"
    );
}
