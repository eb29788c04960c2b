//! The client's side of a proxy of either kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use alknet_socks5::http::ConnectResponse;
use alknet_socks5::upstream::{Kind, UpstreamError, connect};
use alknet_socks5::{Credentials, Message, Reply, Response, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

async fn ask(kind: Kind, answer: &[u8], with_password: bool) -> Result<(), UpstreamError> {
    let (mut client, mut server) = duplex(1024);
    server.write_all(answer).await.unwrap();
    server.shutdown().await.unwrap();
    let credentials = with_password.then(|| Credentials::new("alice", "hunter2").unwrap());
    let target = Target::new("db.internal", 5432).unwrap();
    let outcome = connect(&mut client, kind, &target, credentials.as_ref()).await;
    if outcome.is_ok() {
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "tunnelled");
    }
    outcome
}

#[tokio::test]
async fn every_outcome_has_its_name_with_both_kinds() {
    for (reply, name) in [
        (Reply::ConnectionRefused, "Refused"),
        (Reply::HostUnreachable, "Unreachable"),
        (Reply::NetworkUnreachable, "Unreachable"),
        (Reply::TtlExpired, "TimedOut"),
        (Reply::NotAllowed, "Denied"),
        (Reply::GeneralFailure, "Failed"),
        (Reply::CommandNotSupported, "Failed"),
    ] {
        let socks = [vec![5, 0], Response::new(reply).encode()].concat();
        let http = ConnectResponse::new(reply).encode();
        for (kind, answer) in [(Kind::Socks5, socks), (Kind::Http, http)] {
            let error = ask(kind, &answer, false).await.unwrap_err();
            let shown = format!("{error:?}");
            assert!(shown.starts_with(name), "{kind:?}: {shown}");
        }
    }
    let socks = [vec![5, 0], Response::new(Reply::Succeeded).encode()].concat();
    let http = ConnectResponse::new(Reply::Succeeded).encode();
    for (kind, answer) in [(Kind::Socks5, socks), (Kind::Http, http)] {
        ask(kind, &[&answer[..], b"tunnelled"].concat(), false)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_missing_password_is_not_a_wrong_one() {
    let http = ConnectResponse::AUTHENTICATE.encode();
    for (kind, with_password, answer) in [
        (Kind::Http, false, &http[..]),
        (Kind::Socks5, false, &[5, 0xff]),
        (Kind::Http, true, &http),
        (Kind::Socks5, true, &[5, 0xff]),
        (Kind::Socks5, true, &[5, 2, 1, 1]),
    ] {
        let error = ask(kind, answer, with_password).await.unwrap_err();
        match error {
            UpstreamError::AuthFailed => assert!(with_password),
            UpstreamError::AuthRequired => assert!(!with_password),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn another_protocol_and_an_early_end_are_named() {
    for (kind, answer) in [
        (Kind::Socks5, &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]),
        (Kind::Http, b"\x05\xff"),
        (Kind::Http, b"SSH-2.0-OpenSSH\r\n"),
        (Kind::Socks5, b"SSH-2.0-OpenSSH\r\n"),
    ] {
        let error = ask(kind, answer, true).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Protocol(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("this is not a proxy of the kind configured"),
            "{text}"
        );
    }
    for kind in [Kind::Socks5, Kind::Http] {
        let error = ask(kind, b"", true).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Closed), "{error}");
    }
}
