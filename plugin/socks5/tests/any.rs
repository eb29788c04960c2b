//! One listener for SOCKS5, SOCKS4, SOCKS4a and HTTP CONNECT.
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

use alknet_socks5::http::{ConnectRequest, MAX_HEAD};
use alknet_socks5::{
    Address, AuthPolicy, Command, Credentials, DecodeError, Dialect, Domain, HandshakeError,
    Message, PendingRequest, Progress, Reply, Socks4Request, Socks4Response, Target, accept_any,
    http, upstream,
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const SOCKS5: &[u8] = b"\x05\x01\x00\x05\x01\x00\x03\x04host\x00\x50";
const SOCKS4: &[u8] = b"\x04\x01\x00\x50\xc0\x00\x02\x01me\x00";
const SOCKS4A: &[u8] = b"\x04\x01\x00\x50\x00\x00\x00\x01\x00host\x00";
const HTTP: &[u8] = b"CONNECT host:80 HTTP/1.1\r\nHost: host:80\r\n\r\n";

fn password() -> AuthPolicy {
    AuthPolicy::Password(Credentials::new("alice", "hunter2").unwrap())
}

type Accepted = Result<PendingRequest<DuplexStream>, HandshakeError>;

/// Lets a client send `bytes` in chunks of at most `chunk` and then close its
/// half; gives what the server made of it, and the client.
async fn offer(bytes: &[u8], chunk: usize, policy: &AuthPolicy) -> (Accepted, DuplexStream) {
    // Nobody reads the answers until later, so they have to fit.
    let (mut client, server) = duplex(chunk.max(200));
    let serving = pin!(accept_any(server, policy));
    let sending = async {
        for chunk in bytes.chunks(chunk) {
            // The server may be gone, with its answer given.
            if client.write_all(chunk).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
    };
    let (accepted, ()) = tokio::join!(serving, sending);
    (accepted, client)
}

async fn answer_to_refusal(bytes: &[u8], policy: &AuthPolicy) -> (HandshakeError, Vec<u8>) {
    let (accepted, mut client) = offer(bytes, 100_000, policy).await;
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    (accepted.unwrap_err(), answer)
}

#[tokio::test]
async fn the_first_byte_tells_the_dialects_apart() {
    for (bytes, dialect, target) in [
        (SOCKS5, Dialect::Socks5, "host:80"),
        (SOCKS4, Dialect::Socks4, "192.0.2.1:80"),
        (SOCKS4A, Dialect::Socks4, "host:80"),
        (HTTP, Dialect::Http, "host:80"),
    ] {
        for chunk in [1, 2, 3, 7, 1000] {
            let early = [bytes, b"\r\nearly"].concat();
            let (accepted, _client) = offer(&early, chunk, &AuthPolicy::Open).await;
            let request = accepted.unwrap();
            assert_eq!(request.dialect(), dialect);
            assert_eq!(request.target().to_string(), target);
        }
    }
}

#[tokio::test]
async fn data_sent_before_the_reply_stays_in_the_stream() {
    for bytes in [SOCKS5, SOCKS4, SOCKS4A, HTTP] {
        let early = [bytes, b"\r\nearly"].concat();
        let (accepted, _client) = offer(&early, 1000, &AuthPolicy::Open).await;
        let mut stream = accepted.unwrap().reply(Reply::Succeeded).await.unwrap();
        let mut rest = vec![];
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\r\nearly");
    }
}

#[tokio::test]
async fn the_outcome_is_told_in_the_dialect_and_not_before() {
    let socks4 = |code| vec![0, code, 0, 0, 0, 0, 0, 0];
    for (reply, code, status) in [
        (Reply::Succeeded, 90, "200"),
        (Reply::GeneralFailure, 91, "500"),
        (Reply::NotAllowed, 91, "403"),
        (Reply::NetworkUnreachable, 91, "503"),
        (Reply::HostUnreachable, 91, "503"),
        (Reply::ConnectionRefused, 91, "502"),
        (Reply::TtlExpired, 91, "504"),
    ] {
        for bytes in [SOCKS4, SOCKS4A, HTTP] {
            let (mut client, server) = duplex(1000);
            client.write_all(bytes).await.unwrap();
            let request = accept_any(server, &AuthPolicy::Open).await.unwrap();
            let silent =
                poll_fn(|cx| Poll::Ready(pin!(client.read_u8()).poll(cx).is_pending())).await;
            assert!(silent);
            drop(request.reply(reply).await.unwrap());
            let mut answer = vec![];
            client.read_to_end(&mut answer).await.unwrap();
            if bytes == HTTP {
                let answer = String::from_utf8(answer).unwrap();
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{answer}"
                );
                assert!(answer.ends_with("\r\n\r\n"), "{answer}");
                let tunnel = reply == Reply::Succeeded;
                assert_eq!(answer.contains("Content-Length"), !tunnel, "{answer}");
            } else {
                assert_eq!(answer, socks4(code));
            }
        }
    }
}

#[tokio::test]
async fn our_own_clients_get_through_and_hear_the_outcome() {
    for kind in [upstream::Kind::Socks5, upstream::Kind::Http] {
        for size in [1, 3, 1024] {
            for reply in [Reply::Succeeded, Reply::ConnectionRefused] {
                let (mut client, server) = duplex(size);
                let serving = tokio::spawn(async move {
                    let request = accept_any(server, &password()).await.unwrap();
                    assert_eq!(request.target().to_string(), "db.internal:5432");
                    let mut stream = request.reply(reply).await.unwrap();
                    stream.write_all(b"banner").await.unwrap();
                });
                let target = Target::new("db.internal", 5432).unwrap();
                let credentials = Credentials::new("alice", "hunter2").unwrap();
                let outcome =
                    upstream::connect(&mut client, kind, &target, Some(&credentials)).await;
                match outcome {
                    Ok(()) => assert_eq!(reply, Reply::Succeeded),
                    Err(upstream::UpstreamError::Refused) => {
                        assert_eq!(reply, Reply::ConnectionRefused);
                    }
                    Err(other) => panic!("{other}"),
                }
                let mut banner = vec![];
                client.read_to_end(&mut banner).await.unwrap();
                assert_eq!(banner, b"banner");
                serving.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn who_may_not_come_in_is_told() {
    let (error, answer) = answer_to_refusal(SOCKS4A, &password()).await;
    assert!(
        matches!(error, HandshakeError::NoAcceptableMethod),
        "{error}"
    );
    assert_eq!(answer, [0, 91, 0, 0, 0, 0, 0, 0]);

    let (error, answer) = answer_to_refusal(HTTP, &password()).await;
    assert!(
        matches!(error, HandshakeError::NoAcceptableMethod),
        "{error}"
    );
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    assert!(
        answer.contains("Proxy-Authenticate: Basic realm="),
        "{answer}"
    );

    let wrong = Credentials::new("alice", "hunter3").unwrap();
    let target = Target::new("host", 80).unwrap();
    let wrong = ConnectRequest::new(target, Some(wrong)).unwrap().encode();
    let (error, answer) = answer_to_refusal(&wrong, &password()).await;
    assert!(matches!(error, HandshakeError::AuthFailed), "{error}");
    assert!(answer.starts_with(b"HTTP/1.1 407 "));
}

#[tokio::test]
async fn unusable_requests_get_the_fitting_answer() {
    let bind = b"\x04\x02\x00\x50\x00\x00\x00\x01\x00host\x00";
    let (error, answer) = answer_to_refusal(bind, &AuthPolicy::Open).await;
    assert!(
        matches!(
            error,
            HandshakeError::UnsupportedCommand {
                command: Command::Bind
            }
        ),
        "{error}"
    );
    assert_eq!(answer, [0, 91, 0, 0, 0, 0, 0, 0]);
    for command in [2, 3] {
        let request = [5, 1, 0, 5, command, 0, 1, 0, 0, 0, 0, 0, 0];
        let (error, answer) = answer_to_refusal(&request, &AuthPolicy::Open).await;
        assert!(
            matches!(error, HandshakeError::UnsupportedCommand { .. }),
            "{error}"
        );
        assert_eq!(answer, [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    let long_name = [&SOCKS4A[..9], &[b'a'; 64 * 1024]].concat();
    for faulty in [
        b"\x04\x09\x00\x50\xc0\x00\x02\x01\x00",
        &b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00"[..],
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a b\x00",
        &long_name,
    ] {
        let (error, answer) = answer_to_refusal(faulty, &AuthPolicy::Open).await;
        assert!(matches!(error, HandshakeError::Decode(_)), "{error}");
        assert_eq!(answer, [0, 91, 0, 0, 0, 0, 0, 0]);
    }

    let long_name = format!("CONNECT {}:80 HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024));
    for (request, status) in [
        ("GET http://host/ HTTP/1.1\r\nHost: host\r\n\r\n", "405"),
        ("CONNECT host HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT host:0 HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT host:80 HTTP/1.1\r\nbroken\r\n\r\n", "400"),
        (&long_name, "431"),
    ] {
        let (error, answer) = answer_to_refusal(request.as_bytes(), &AuthPolicy::Open).await;
        assert!(matches!(error, HandshakeError::Decode(_)), "{error}");
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(status == "405", answer.contains("\r\nAllow: CONNECT\r\n"));
    }
}

#[tokio::test]
async fn another_protocol_or_an_early_end_is_named() {
    for other in [&b"\x16\x03\x01\x02\x00"[..], b"ssh", b"\0", b"\n"] {
        let (error, answer) = answer_to_refusal(other, &AuthPolicy::Open).await;
        assert!(
            matches!(error, HandshakeError::Decode(DecodeError::Protocol { found }) if found == other[0]),
            "{error}"
        );
        assert_eq!(answer, b"");
    }
    let (error, _) = answer_to_refusal(b"\x16", &AuthPolicy::Open).await;
    assert!(error.to_string().contains("looks like TLS"), "{error}");
    let (error, answer) = answer_to_refusal(b"SSH-2.0-OpenSSH_9.2\r\n", &AuthPolicy::Open).await;
    assert!(
        matches!(error, HandshakeError::Decode(DecodeError::NotHttp)),
        "{error}"
    );
    assert_eq!(answer, b"");
    for whole in [SOCKS5, SOCKS4, SOCKS4A, HTTP] {
        for length in 0..whole.len() {
            let (accepted, _) = offer(&whole[..length], 1000, &AuthPolicy::Open).await;
            assert!(
                matches!(accepted, Err(HandshakeError::Closed)),
                "{length}: {accepted:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_of_endless_words_is_listened_to_for_a_while_only() {
    for start in [&b"CONNECT a:1 HTTP/1.1\r\nX: "[..], &SOCKS4A[..9]] {
        let (mut client, server) = duplex(1024);
        client.write_all(start).await.unwrap();
        let serving = tokio::spawn(async move { accept_any(server, &AuthPolicy::Open).await });
        let mut sent = 0;
        while client.write_all(&[b'x'; 512]).await.is_ok() {
            sent += 512;
            assert!(sent < MAX_HEAD + 80 * 1024);
        }
        assert!(serving.await.unwrap().is_err());
    }
}

fn socks4_targets() -> impl Strategy<Value = Target> {
    let ip = any::<[u8; 4]>().prop_filter("a name's place", |ip| ip[..3] != [0; 3]);
    let ip = ip.prop_map(|ip| Address::Ip(std::net::Ipv4Addr::from(ip).into()));
    let name = "[a-z0-9][a-z0-9.-]{0,254}".prop_map(|n| Address::Domain(Domain::new(&n).unwrap()));
    (prop_oneof![ip, name], any::<u16>()).prop_map(|(address, port)| Target { address, port })
}

fn any_start() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![SOCKS5, SOCKS4, SOCKS4A, HTTP]);
    let cut = (known, any::<proptest::sample::Index>())
        .prop_map(|(whole, at)| whole[..=at.index(whole.len())].to_vec());
    let byte = proptest::sample::select(vec![0, 1, 3, 4, 5, b'A', b'\n', b'\r', b' ', 255]);
    (cut, proptest::collection::vec(byte, 0..40)).prop_map(|(start, rest)| [start, rest].concat())
}

proptest! {
    #[test]
    fn socks4_survives_every_split(
        target in socks4_targets(),
        command in proptest::sample::select(vec![Command::Connect, Command::Bind]),
        user in proptest::collection::vec(1u8.., 0..256),
    ) {
        let request = Socks4Request { command, target, user };
        let whole = request.encode();
        for length in 0..whole.len() {
            let progress = Socks4Request::decode(&whole[..length]);
            let Ok(Progress::Need(more)) = progress else {
                panic!("{length}: {progress:?}");
            };
            prop_assert!(more > 0 && length + more <= whole.len());
        }
        for tail in [&b""[..], b"early"] {
            let bytes = [&whole, tail].concat();
            let done = Socks4Request::decode(&bytes);
            prop_assert_eq!(done, Ok(Progress::Done(request.clone(), whole.len())));
        }
        for granted in [true, false] {
            let answer = Socks4Response { granted };
            let done = Socks4Response::decode(&answer.encode());
            prop_assert_eq!(done, Ok(Progress::Done(answer, 8)));
        }
    }

    #[test]
    fn any_chunks_give_the_same(bytes in any_start(), chunk in 1usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shown = |chunk| runtime.block_on(async {
            let (accepted, mut client) = offer(&bytes, chunk, &AuthPolicy::Open).await;
            match accepted {
                Ok(request) => {
                    let shown = format!("{} {}", request.dialect(), request.target());
                    drop(request);
                    shown
                }
                Err(error) => {
                    let mut answer = vec![];
                    client.read_to_end(&mut answer).await.unwrap();
                    format!("{error} {answer:?}")
                }
            }
        });
        prop_assert_eq!(shown(chunk), shown(1000));
    }
}

#[tokio::test]
async fn http_names_are_passed_on_unresolved() {
    let (mut client, server) = duplex(1000);
    let serving = tokio::spawn(async move {
        let request = accept_any(server, &AuthPolicy::Open).await.unwrap();
        let target = request.target().clone();
        request.reply(Reply::Succeeded).await.unwrap();
        target
    });
    let target = Target::new("only.there.invalid", 443).unwrap();
    http::connect(&mut client, &target, None).await.unwrap();
    assert_eq!(serving.await.unwrap(), target);
}
