//! Both ends of the handshake over a stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use alknet_socks5::{
    AuthPolicy, Command, Credentials, DecodeError, HandshakeError, Method, PendingRequest, Reply,
    Target, accept, connect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const NO_AUTH: &[u8] = &[5, 1, 0];
const CONNECT: &[u8] = b"\x05\x01\x00\x03\x04host\x00\x50";

fn password() -> AuthPolicy {
    AuthPolicy::Password(Credentials::new("alice", "hunter2").unwrap())
}

/// Lets a client send `bytes` at once and then close its half; gives what the
/// server made of it and all that it answered.
async fn serve(
    bytes: &[u8],
    policy: &AuthPolicy,
) -> (
    Result<PendingRequest<DuplexStream>, HandshakeError>,
    Vec<u8>,
) {
    let (mut client, server) = duplex(1024);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let outcome = accept(server, policy).await;
    let mut answer = vec![];
    if outcome.is_err() {
        client.read_to_end(&mut answer).await.unwrap();
    }
    (outcome, answer)
}

#[tokio::test]
async fn a_tunnel_opens_with_the_outcome_and_early_data_survives() {
    // One byte at a time through the pipe, so that every message is split.
    for size in [1, 2, 3, 1024] {
        for (policy, credentials) in [
            (AuthPolicy::Open, None),
            (AuthPolicy::Open, Some(Credentials::new("a", "b").unwrap())),
            (
                password(),
                Some(Credentials::new("alice", "hunter2").unwrap()),
            ),
        ] {
            let (mut client, server) = duplex(size);
            let serving = tokio::spawn(async move {
                let request = accept(server, &policy).await.unwrap();
                assert_eq!(request.target().to_string(), "db.internal:5432");
                let mut stream = request.reply(Reply::Succeeded).await.unwrap();
                // Speaks first, right behind the reply.
                stream.write_all(b"banner").await.unwrap();
                let mut received = String::new();
                stream.read_to_string(&mut received).await.unwrap();
                received
            });
            let target = Target::new("db.internal", 5432).unwrap();
            connect(&mut client, &target, credentials.as_ref())
                .await
                .unwrap();
            let mut banner = [0; 6];
            client.read_exact(&mut banner).await.unwrap();
            assert_eq!(&banner, b"banner");
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(serving.await.unwrap(), "hello");
        }
    }
}

#[tokio::test]
async fn data_sent_before_the_reply_stays_in_the_stream() {
    let (mut client, server) = duplex(1024);
    let bytes = [NO_AUTH, CONNECT, b"early"].concat();
    client.write_all(&bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let request = accept(server, &AuthPolicy::Open).await.unwrap();
    assert_eq!(request.target().to_string(), "host:80");
    let mut stream = request.reply(Reply::Succeeded).await.unwrap();
    let mut early = vec![];
    stream.read_to_end(&mut early).await.unwrap();
    assert_eq!(early, b"early");
}

#[tokio::test]
async fn nothing_is_answered_before_the_outcome_is_known() {
    let (mut client, server) = duplex(1024);
    client
        .write_all(&[NO_AUTH, CONNECT].concat())
        .await
        .unwrap();
    let request = accept(server, &AuthPolicy::Open).await.unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 0]);
    let silent = poll_fn(|cx| Poll::Ready(pin!(client.read_u8()).poll(cx).is_pending())).await;
    assert!(silent);
    drop(request.reply(Reply::HostUnreachable).await.unwrap());
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 4, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn bind_and_udp_are_answered_with_not_supported() {
    for (code, command) in [(2, Command::Bind), (3, Command::UdpAssociate)] {
        let request = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let (outcome, answer) = serve(&[NO_AUTH, &request].concat(), &AuthPolicy::Open).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, HandshakeError::UnsupportedCommand { command: asked } if asked == command),
            "{error}"
        );
        assert_eq!(answer, [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn unusable_requests_get_the_fitting_reply() {
    for (request, reply) in [
        (
            &[5, 9, 0, 1, 0, 0, 0, 0, 0, 0][..],
            Reply::CommandNotSupported,
        ),
        (&[5, 1, 0, 2][..], Reply::AddressTypeNotSupported),
        (b"\x05\x01\x00\x03\x01 \x00\x50", Reply::HostUnreachable),
        (&[4][..], Reply::GeneralFailure),
    ] {
        let (outcome, answer) = serve(&[NO_AUTH, request].concat(), &AuthPolicy::Open).await;
        assert!(
            matches!(outcome, Err(HandshakeError::Decode(_))),
            "{outcome:?}"
        );
        assert_eq!(answer, [5, 0, 5, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn who_may_not_come_in_is_told() {
    let (outcome, answer) = serve(&[NO_AUTH, CONNECT].concat(), &password()).await;
    assert!(
        matches!(outcome, Err(HandshakeError::NoAcceptableMethod)),
        "{outcome:?}"
    );
    assert_eq!(answer, [5, 0xff]);

    let wrong = Credentials::new("alice", "hunter3").unwrap();
    let target = Target::new("host", 80).unwrap();
    let (mut client, server) = duplex(1024);
    let serving = tokio::spawn(async move { accept(server, &password()).await.map(drop) });
    let error = connect(&mut client, &target, Some(&wrong))
        .await
        .unwrap_err();
    assert!(matches!(error, HandshakeError::AuthFailed), "{error}");
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, HandshakeError::AuthFailed), "{error}");
}

#[tokio::test]
async fn another_protocol_or_an_early_end_is_named() {
    let (outcome, answer) = serve(b"GET / HTTP/1.1\r\n\r\n", &AuthPolicy::Open).await;
    let error = outcome.unwrap_err();
    assert!(
        matches!(
            error,
            HandshakeError::Decode(DecodeError::Version { found: b'G' })
        ),
        "{error}"
    );
    assert_eq!(answer, b"");

    let whole = [NO_AUTH, CONNECT].concat();
    for length in 0..whole.len() {
        let (outcome, _) = serve(&whole[..length], &AuthPolicy::Open).await;
        assert!(
            matches!(outcome, Err(HandshakeError::Closed)),
            "{length}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn the_client_reports_what_the_server_says() {
    let said = |answer: Vec<u8>, with_password: bool| async move {
        let (mut client, mut server) = duplex(1024);
        server.write_all(&answer).await.unwrap();
        server.shutdown().await.unwrap();
        let credentials = with_password.then(|| Credentials::new("a", "b").unwrap());
        let target = Target::new("192.0.2.1", 80).unwrap();
        let outcome = connect(&mut client, &target, credentials.as_ref()).await;
        (outcome, server)
    };
    let (outcome, mut server) = said(vec![5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0], false).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the SOCKS server answered: connection refused"
    );
    let mut sent = vec![0; 13];
    server.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent, [5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80]);

    let (outcome, _server) = said(vec![5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 9], true).await;
    assert_eq!(outcome.unwrap().to_string(), "127.0.0.1:9");
    // A method that was not offered must not make it send a password.
    let (outcome, _server) = said(vec![5, 2], false).await;
    assert!(
        matches!(
            outcome,
            Err(HandshakeError::UnexpectedMethod {
                method: Method::PASSWORD
            })
        ),
        "{outcome:?}"
    );
    let (outcome, _server) = said(vec![5, 0xff], true).await;
    assert!(
        matches!(outcome, Err(HandshakeError::NoAcceptableMethod)),
        "{outcome:?}"
    );
    let (outcome, _server) = said(vec![5, 0, 5, 0], true).await;
    assert!(
        matches!(outcome, Err(HandshakeError::Closed)),
        "{outcome:?}"
    );
    let (outcome, _server) = said(b"HTTP/1.1 400 Bad Request".to_vec(), true).await;
    assert!(
        matches!(outcome, Err(HandshakeError::Decode(_))),
        "{outcome:?}"
    );
}
