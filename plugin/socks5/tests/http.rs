//! HTTP CONNECT: the messages, and a client's handshake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fmt::Debug;
use std::net::IpAddr;

use alknet_socks5::http::{
    ConnectRequest, ConnectResponse, MAX_FIELDS, MAX_HEAD, RequestError, connect,
};
use alknet_socks5::{
    Address, Credentials, DecodeError, Domain, HandshakeError, Message, Progress, Reply, Target,
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn done<M: Message + Debug>(bytes: &[u8]) -> M {
    match M::decode(bytes) {
        Ok(Progress::Done(message, length)) => {
            assert_eq!(length, bytes.len());
            message
        }
        other => panic!("{other:?}"),
    }
}

fn fault<M: Message + Debug>(bytes: &[u8]) -> DecodeError {
    M::decode(bytes).unwrap_err()
}

/// Feeds `bytes` as a stream reader would, never more than is asked for; gives
/// what came out, and how many bytes it took.
fn step_by_step<M: Message>(bytes: &[u8]) -> (Option<Result<M, DecodeError>>, usize) {
    let mut have = 0;
    loop {
        match M::decode(&bytes[..have]) {
            Ok(Progress::Done(message, length)) => {
                assert_eq!(length, have, "more was asked for than belonged to it");
                return (Some(Ok(message)), have);
            }
            Ok(Progress::Need(_)) if have == bytes.len() => return (None, have),
            Ok(Progress::Need(more)) => {
                assert!(more > 0);
                have = bytes.len().min(have + more);
            }
            Err(error) => return (Some(Err(error)), have),
        }
    }
}

/// In small steps and at once, with something behind it or not: it is the same.
fn check_steps<M: Message>(bytes: &[u8]) {
    let (stepped, taken) = step_by_step::<M>(bytes);
    let longer = [bytes, b"tunnelled"].concat();
    match (stepped, M::decode(bytes)) {
        (Some(Ok(stepped)), Ok(Progress::Done(whole, length))) => {
            assert_eq!(length, taken);
            assert_eq!(stepped.encode(), whole.encode());
            assert!(matches!(M::decode(&longer), Ok(Progress::Done(_, same)) if same == length));
        }
        (Some(Err(stepped)), Err(whole)) => assert_eq!(stepped, whole),
        (None, Ok(Progress::Need(more))) => assert!(more > 0),
        (stepped, whole) => panic!(
            "{:?} against {:?}",
            stepped.map(|outcome| outcome.err()),
            whole.err()
        ),
    }
}

fn credentials() -> Credentials {
    Credentials::new("Aladdin", "open sesame").unwrap()
}

#[test]
fn a_request_is_the_bytes_of_the_rfcs() {
    let target = Target::new("server.example.com", 80).unwrap();
    let plain = ConnectRequest::new(target.clone(), None).unwrap();
    assert_eq!(
        String::from_utf8(plain.encode()).unwrap(),
        "CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com:80\r\n\r\n"
    );
    // The example of RFC 7617, section 2.
    let request = ConnectRequest::new(target, Some(credentials())).unwrap();
    let bytes = request.encode();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(
        text.ends_with("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"),
        "{text}"
    );
    let shown = format!("{request:?}");
    assert!(
        !shown.contains("Aladdin") && !shown.contains("sesame"),
        "{shown}"
    );

    for (host, authority) in [
        ("192.0.2.1", "192.0.2.1:80"),
        ("2001:db8::1", "[2001:db8::1]:80"),
    ] {
        let address = Target::new(host, 80).unwrap();
        let text = Target {
            address: Address::Domain(Domain::new(host).unwrap()),
            port: 80,
        };
        for target in [address, text] {
            let bytes = ConnectRequest::new(target, None).unwrap().encode();
            let start = format!("CONNECT {authority} HTTP/1.1\r\n");
            assert!(bytes.starts_with(start.as_bytes()), "{host}");
        }
    }
}

#[test]
fn what_http_cannot_carry_is_not_sent() {
    for host in ["ho/st", "user@host", "fe80::1%eth0", "häuser", "a?b", "[x"] {
        let error = ConnectRequest::new(Target::new(host, 80).unwrap(), None).unwrap_err();
        assert_eq!(error, RequestError::Host, "{host}");
    }
    let target = Target::new("host", 80).unwrap();
    ConnectRequest::new(Target::new("host", 0).unwrap(), None).unwrap_err();
    for (username, password) in [("a:b", "c"), ("a\n", "b"), ("a", "b\r\nX: y")] {
        let credentials = Credentials::new(username, password).unwrap();
        let error = ConnectRequest::new(target.clone(), Some(credentials)).unwrap_err();
        assert_eq!(error, RequestError::Credentials);
    }
}

#[test]
fn requests_as_clients_send_them_are_understood() {
    let request: ConnectRequest = done(
        b"CONNECT db.internal:5432 HTTP/1.1\r\nHost: elsewhere\r\n\
          User-Agent: Mozilla/5.0 (X11)\r\nProxy-Connection: keep-alive\r\n\
          proxy-authorization: BASIC  QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
    );
    assert_eq!(request.target().to_string(), "db.internal:5432");
    assert!(request.credentials().unwrap().matches(&credentials()));
    let request: ConnectRequest = done(b"CONNECT [::1]:22 HTTP/1.0\n\n");
    assert_eq!(request.target().to_string(), "[::1]:22");
    assert!(request.credentials().is_none());
    for other in [
        "Bearer abc",
        "Basic",
        "Basic !!!",
        "Basic YQ==",
        "Basic Og==",
    ] {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: {other}\r\n\r\n");
        let request: ConnectRequest = done(head.as_bytes());
        assert!(request.credentials().is_none(), "{other}");
    }
}

#[test]
fn faulty_requests_are_named() {
    for target in [
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:+80",
        ":80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[host]:80",
        "a@host:80",
        "http://host:80",
        "/",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        assert_eq!(
            fault::<ConnectRequest>(head.as_bytes()),
            DecodeError::HttpTarget,
            "{target}"
        );
    }
    let long = format!("CONNECT {}:80 HTTP/1.1\r\n\r\n", "a".repeat(256));
    assert_eq!(
        fault::<ConnectRequest>(long.as_bytes()),
        DecodeError::HttpTarget
    );
    for head in [
        "GET http://host/ HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(
            fault::<ConnectRequest>(head.as_bytes()),
            DecodeError::HttpMethod
        );
    }
    for head in [
        "CONNECT a:1\r\n\r\n",
        "CONNECT a:1 HTTP/3.0\r\n\r\n",
        "CONNECT  HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nno colon\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nX: \0\r\n\r\n",
    ] {
        assert_eq!(
            fault::<ConnectRequest>(head.as_bytes()),
            DecodeError::HttpHead,
            "{head:?}"
        );
    }
    for start in [&b"SSH-2.0-x"[..], b"\x16\x03\x01", b"get ", &[b'A'; 25]] {
        assert_eq!(fault::<ConnectRequest>(start), DecodeError::NotHttp);
    }
}

#[test]
fn a_head_is_bounded() {
    let head = |fields: usize, padding: usize| {
        let fields = "X: y\r\n".repeat(fields);
        let padding = "p".repeat(padding);
        format!("CONNECT a:1 HTTP/1.1\r\n{fields}P: {padding}\r\n\r\n").into_bytes()
    };
    let bare = head(0, 0).len();
    done::<ConnectRequest>(&head(0, MAX_HEAD - bare));
    done::<ConnectRequest>(&head(MAX_FIELDS - 1, 0));
    for long in [
        head(0, MAX_HEAD - bare + 1),
        head(MAX_FIELDS, 0),
        head(0, 64 * 1024),
    ] {
        assert_eq!(fault::<ConnectRequest>(&long), DecodeError::HttpHeadTooLong);
        let (outcome, taken) = step_by_step::<ConnectRequest>(&long);
        assert!(outcome.unwrap().is_err());
        assert!(taken <= MAX_HEAD + 1);
    }
}

#[test]
fn statuses_have_their_meaning() {
    for (head, status, reply) in [
        ("HTTP/1.1 200 Connection established", 200, Reply::Succeeded),
        ("HTTP/1.0 200", 200, Reply::Succeeded),
        // No tunnel has a length, whatever a proxy says.
        ("HTTP/1.1 299 \r\nContent-Length: 5", 299, Reply::Succeeded),
        ("HTTP/1.1 403 No", 403, Reply::NotAllowed),
        ("HTTP/1.1 405 No", 405, Reply::CommandNotSupported),
        ("HTTP/1.1 500 No", 500, Reply::GeneralFailure),
        ("HTTP/1.1 502 No", 502, Reply::HostUnreachable),
        (
            "HTTP/1.1 503 No\r\nVia : sloppy",
            503,
            Reply::HostUnreachable,
        ),
        ("HTTP/1.1 504 No", 504, Reply::TtlExpired),
        (
            "HTTP/1.1 502 No\r\nProxy-Status: x; details=\"a; error=dns_error\"; error=connection_refused",
            502,
            Reply::ConnectionRefused,
        ),
        (
            "HTTP/1.1 504 No\r\nproxy-status: origin, x; error=destination_ip_unroutable;a=1",
            504,
            Reply::NetworkUnreachable,
        ),
        (
            "HTTP/1.1 500 No\r\nProxy-Status: x;error=dns_timeout",
            500,
            Reply::TtlExpired,
        ),
        (
            "HTTP/1.1 502 No\r\nProxy-Status: x;error=destination_ip_prohibited",
            502,
            Reply::NotAllowed,
        ),
        (
            "HTTP/1.1 504 No\r\nProxy-Status: x;error=something_new",
            504,
            Reply::TtlExpired,
        ),
    ] {
        let response: ConnectResponse = done(format!("{head}\r\n\r\n").as_bytes());
        assert_eq!(response, ConnectResponse { status, reply }, "{head}");
    }
    for start in [&b"SSH"[..], b"\x05", b"HTTP/2", b" HTTP/1.1"] {
        assert_eq!(fault::<ConnectResponse>(start), DecodeError::NotHttp);
    }
    assert_eq!(
        fault::<ConnectResponse>(b"HTTP/1.1 abc\r\n\r\n"),
        DecodeError::HttpHead
    );
}

#[test]
fn a_client_of_ours_understands_a_server_of_ours() {
    for reply in [
        Reply::Succeeded,
        Reply::GeneralFailure,
        Reply::NotAllowed,
        Reply::NetworkUnreachable,
        Reply::HostUnreachable,
        Reply::ConnectionRefused,
        Reply::TtlExpired,
        Reply::CommandNotSupported,
    ] {
        let response = ConnectResponse::new(reply);
        assert_eq!(done::<ConnectResponse>(&response.encode()), response);
        check_steps::<ConnectResponse>(&response.encode());
    }
}

/// A proxy that gives `answer` whatever it is asked; what it was asked comes
/// back with the outcome.
async fn ask(
    answer: &[u8],
    credentials: Option<&Credentials>,
) -> (Result<(), HandshakeError>, DuplexStream, DuplexStream) {
    let (mut client, mut server) = duplex(64 * 1024);
    server.write_all(answer).await.unwrap();
    server.shutdown().await.unwrap();
    let target = Target::new("db.internal", 5432).unwrap();
    let outcome = connect(&mut client, &target, credentials).await;
    (outcome, client, server)
}

#[tokio::test]
async fn the_tunnel_begins_right_behind_the_head() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nVia: x\n\r\n",
        "HTTP/1.1 200\n\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 OK\r\n\r\n",
    ] {
        for tunnelled in ["", "\n", "\r\n\r\n", "SSH-2.0-x\r\n"] {
            let answer = format!("{head}{tunnelled}");
            let (outcome, mut client, _server) = ask(answer.as_bytes(), None).await;
            outcome.unwrap();
            let mut rest = String::new();
            client.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, tunnelled, "{head:?}");
        }
    }
}

#[tokio::test]
async fn credentials_are_shown_only_where_given() {
    for (credentials, shown) in [(None, false), (Some(credentials()), true)] {
        let (outcome, client, mut server) =
            ask(b"HTTP/1.1 200 OK\r\n\r\n", credentials.as_ref()).await;
        outcome.unwrap();
        drop(client);
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        assert!(asked.starts_with("CONNECT db.internal:5432 HTTP/1.1\r\n"));
        assert_eq!(asked.contains("Authorization"), shown);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let outcome = |answer: &'static str, with: bool| async move {
        let credentials = with.then(credentials);
        ask(answer.as_bytes(), credentials.as_ref())
            .await
            .0
            .unwrap_err()
    };
    let unauthorised = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    let error = outcome(unauthorised, true).await;
    assert!(matches!(error, HandshakeError::AuthFailed), "{error}");
    let error = outcome(unauthorised, false).await;
    assert!(
        matches!(error, HandshakeError::NoAcceptableMethod),
        "{error}"
    );
    let error = outcome(
        "HTTP/1.1 502 No\r\nProxy-Status: p; error=connection_refused\r\n\r\n",
        false,
    )
    .await;
    assert_eq!(
        error.to_string(),
        "the HTTP proxy answered 502: connection refused"
    );
    for closed in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let error = outcome(closed, false).await;
        assert!(matches!(error, HandshakeError::Closed), "{error}");
    }
    for other in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 101 Switching\r\n\r\n"] {
        let error = outcome(other, false).await;
        assert!(matches!(error, HandshakeError::Decode(_)), "{error}");
    }
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
    let (outcome, ..) = ask(endless.as_bytes(), None).await;
    assert!(matches!(outcome, Err(HandshakeError::Decode(_))));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000));
    let (outcome, ..) = ask(endless.as_bytes(), None).await;
    assert!(matches!(
        outcome,
        Err(HandshakeError::Decode(DecodeError::HttpHeadTooLong))
    ));
}

fn any_target() -> impl Strategy<Value = Target> {
    let ip = any::<IpAddr>().prop_map(Address::Ip);
    let name =
        "[a-z0-9][a-z0-9.-]{0,80}[a-z]".prop_map(|n| Address::Domain(Domain::new(&n).unwrap()));
    (prop_oneof![ip, name], 1u16..).prop_map(|(address, port)| Target { address, port })
}

fn any_head() -> impl Strategy<Value = Vec<u8>> {
    let start = proptest::sample::select(vec![
        "CONNECT a:1 HTTP/1.1",
        "CONNECT a",
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 502",
        "",
    ]);
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"A: b".to_vec()),
        Just(b" ".to_vec()),
        Just(b"Proxy-Status: x;error=dns_error".to_vec()),
        Just(b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    (start, proptest::collection::vec(piece, 0..12))
        .prop_map(|(start, pieces)| [start.as_bytes(), &pieces.concat()].concat())
}

proptest! {
    #[test]
    fn requests_survive_the_wire(
        target in any_target(),
        username in "[^:\\x00-\\x1f\\x7f]{1,60}",
        password in "[^\\x00-\\x1f\\x7f]{0,60}",
        with in any::<bool>(),
    ) {
        let credentials = with.then(|| Credentials::new(username, password).unwrap());
        let request = ConnectRequest::new(target.clone(), credentials.clone()).unwrap();
        let bytes = request.encode();
        let read: ConnectRequest = done(&bytes);
        prop_assert_eq!(read.target(), &target);
        prop_assert_eq!(read.credentials().is_some(), with);
        if let (Some(read), Some(sent)) = (read.credentials(), &credentials) {
            prop_assert!(read.matches(sent));
        }
        check_steps::<ConnectRequest>(&bytes);
    }

    #[test]
    fn any_bytes_are_the_same_in_any_steps(bytes in any_head()) {
        check_steps::<ConnectRequest>(&bytes);
        check_steps::<ConnectResponse>(&bytes);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        check_steps::<ConnectRequest>(&bytes);
        check_steps::<ConnectResponse>(&bytes);
    }
}
