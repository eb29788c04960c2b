//! The SOCKS5 and HTTP proxy handshakes against curl(1), a client that we did
//! not write.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::net::SocketAddr;
use std::process::{Command, Output};

use alknet_socks5::{AuthPolicy, Credentials, DecodeError, HandshakeError, Reply, accept_any};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn curl_is_missing() -> bool {
    let missing = Command::new("curl").arg("--version").output().is_err();
    if missing {
        assert!(std::env::var_os("CI").is_none(), "CI needs curl");
        eprintln!("SKIPPED: curl is not installed");
    }
    missing
}

/// How curl is told to use a proxy at `address`, as `user` (`name:password`).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Socks5,
    Socks5LocalNames,
    Socks4a,
    Socks4,
    HttpTunnel,
    HttpPlain,
}

impl Way {
    const TUNNELS: [Self; 3] = [Self::Socks5, Self::Socks4a, Self::HttpTunnel];

    fn arguments(self, address: SocketAddr, user: Option<&str>) -> Vec<String> {
        let address = address.to_string();
        let mut arguments = match self {
            Self::Socks5 => vec!["--socks5-hostname".into(), address],
            Self::Socks5LocalNames => vec!["--socks5".into(), address],
            Self::Socks4a => vec!["--socks4a".into(), address],
            Self::Socks4 => vec!["--socks4".into(), address],
            Self::HttpTunnel => {
                vec![
                    "-x".into(),
                    format!("http://{address}"),
                    "--proxytunnel".into(),
                ]
            }
            Self::HttpPlain => vec!["-x".into(), format!("http://{address}")],
        };
        if let Some(user) = user {
            arguments.extend(["--proxy-user".into(), user.into()]);
        }
        arguments
    }
}

/// Has curl ask for a page through a server that does as told; gives what the
/// server saw as the target, or its error, and curl's end.
async fn fetch(
    way: Way,
    host: &str,
    user: Option<&str>,
    policy: AuthPolicy,
    reply: Reply,
) -> (Result<String, HandshakeError>, Output) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = way.arguments(listener.local_addr().unwrap(), user);
    let url = format!("http://{host}:8080/");
    let curl = std::thread::spawn(move || {
        Command::new("curl")
            .args(["-q", "--silent", "--show-error", "--max-time", "60"])
            .args(["--noproxy", ""])
            .args(proxy)
            .arg(url)
            .output()
            .unwrap()
    });
    let (stream, _) = listener.accept().await.unwrap();
    let outcome = match accept_any(stream, &policy).await {
        Ok(request) => {
            let target = request.target().to_string();
            let mut stream = request.reply(reply).await.unwrap();
            if reply == Reply::Succeeded {
                let mut start = [0; 16];
                stream.read_exact(&mut start).await.unwrap();
                assert!(start.starts_with(b"GET / HTTP/1"), "{start:?}");
                stream.write_all(ANSWER).await.unwrap();
            }
            Ok(target)
        }
        Err(error) => Err(error),
    };
    (outcome, curl.join().unwrap())
}

fn password() -> AuthPolicy {
    AuthPolicy::Password(Credentials::new("alice", "hunter2").unwrap())
}

#[tokio::test]
async fn curl_gets_through_in_every_way() {
    if curl_is_missing() {
        return;
    }
    const NAME: &str = "not-resolved-here.invalid";
    for (way, host, seen) in [
        (Way::Socks5, NAME, "not-resolved-here.invalid:8080"),
        (Way::Socks5, "[2001:db8::1]", "[2001:db8::1]:8080"),
        (Way::Socks5LocalNames, "192.0.2.1", "192.0.2.1:8080"),
        (Way::Socks4a, NAME, "not-resolved-here.invalid:8080"),
        (Way::Socks4, "192.0.2.1", "192.0.2.1:8080"),
        (Way::HttpTunnel, NAME, "not-resolved-here.invalid:8080"),
        (Way::HttpTunnel, "192.0.2.1", "192.0.2.1:8080"),
        (Way::HttpTunnel, "[2001:db8::1]", "[2001:db8::1]:8080"),
    ] {
        let (outcome, output) = fetch(way, host, None, AuthPolicy::Open, Reply::Succeeded).await;
        assert_eq!(outcome.unwrap(), seen, "{way:?}");
        assert_eq!(output.stdout, b"hello", "{way:?}: {output:?}");
    }
}

#[tokio::test]
async fn curl_shows_its_password() {
    if curl_is_missing() {
        return;
    }
    for way in [Way::Socks5, Way::HttpTunnel] {
        for policy in [password(), AuthPolicy::Open] {
            let user = Some("alice:hunter2");
            let (outcome, output) = fetch(way, "host", user, policy, Reply::Succeeded).await;
            outcome.unwrap();
            assert_eq!(output.stdout, b"hello", "{way:?}: {output:?}");
        }
        for user in [None, Some("alice:wrong")] {
            let (outcome, output) = fetch(way, "host", user, password(), Reply::Succeeded).await;
            assert!(
                matches!(
                    (user, outcome.unwrap_err()),
                    (None, HandshakeError::NoAcceptableMethod)
                        | (Some(_), HandshakeError::AuthFailed)
                ),
                "{way:?}"
            );
            assert!(!output.status.success());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(way == Way::HttpTunnel, said.contains("407"), "{said}");
        }
    }
    // SOCKS4 has no passwords.
    let user = Some("alice:hunter2");
    let (outcome, output) = fetch(Way::Socks4a, "host", user, password(), Reply::Succeeded).await;
    assert!(matches!(outcome, Err(HandshakeError::NoAcceptableMethod)));
    assert!(!output.status.success());
}

#[tokio::test]
async fn curl_is_told_what_went_wrong() {
    if curl_is_missing() {
        return;
    }
    let replies = [
        Reply::ConnectionRefused,
        Reply::HostUnreachable,
        Reply::TtlExpired,
        Reply::NotAllowed,
        Reply::GeneralFailure,
    ];
    for way in Way::TUNNELS {
        let mut said = Vec::new();
        for reply in replies {
            let (outcome, output) = fetch(way, "host", None, AuthPolicy::Open, reply).await;
            outcome.unwrap();
            assert!(!output.status.success(), "{way:?} {reply}");
            said.push(String::from_utf8(output.stderr).unwrap());
        }
        if way != Way::Socks4a {
            said.sort();
            said.dedup();
            assert_eq!(said.len(), replies.len(), "{said:?}");
        }
    }
}

#[tokio::test]
async fn curl_without_a_tunnel_is_told_that_there_are_only_tunnels() {
    if curl_is_missing() {
        return;
    }
    let (outcome, output) = fetch(
        Way::HttpPlain,
        "host",
        None,
        AuthPolicy::Open,
        Reply::Succeeded,
    )
    .await;
    assert!(matches!(
        outcome,
        Err(HandshakeError::Decode(DecodeError::HttpMethod))
    ));
    // The answer of the proxy is the page; curl succeeds, and it is empty.
    assert_eq!(output.stdout, b"");
}
