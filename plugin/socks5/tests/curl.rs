//! A client that is not ours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::process::{Command, Output};

use alknet_socks5::{AuthPolicy, Credentials, HandshakeError, Reply, accept};
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

/// Has curl ask for a page through a server that does as told; gives what the
/// server saw as the target, and curl's end.
async fn fetch(user: &str, policy: AuthPolicy, reply: Reply) -> (Option<String>, Output) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = format!("socks5h://{user}{}", listener.local_addr().unwrap());
    let curl = std::thread::spawn(move || {
        Command::new("curl")
            .args(["-q", "--silent", "--max-time", "60", "--noproxy", ""])
            .args(["--proxy", &proxy, "http://not-resolved-here.invalid:8080/"])
            .output()
            .unwrap()
    });
    let (stream, _) = listener.accept().await.unwrap();
    let target = match accept(stream, &policy).await {
        Ok(request) => {
            let target = request.target().to_string();
            let mut stream = request.reply(reply).await.unwrap();
            if reply == Reply::Succeeded {
                let mut start = [0; 16];
                stream.read_exact(&mut start).await.unwrap();
                assert!(start.starts_with(b"GET / HTTP/1"), "{start:?}");
                stream.write_all(ANSWER).await.unwrap();
            }
            Some(target)
        }
        Err(HandshakeError::AuthFailed | HandshakeError::NoAcceptableMethod) => None,
        Err(error) => panic!("{error}"),
    };
    (target, curl.join().unwrap())
}

fn password() -> AuthPolicy {
    AuthPolicy::Password(Credentials::new("alice", "hunter2").unwrap())
}

#[tokio::test]
async fn curl_gets_through() {
    if curl_is_missing() {
        return;
    }
    for (user, policy) in [("", AuthPolicy::Open), ("alice:hunter2@", password())] {
        let (target, output) = fetch(user, policy, Reply::Succeeded).await;
        assert_eq!(target.as_deref(), Some("not-resolved-here.invalid:8080"));
        assert_eq!(output.stdout, b"hello");
    }
}

#[tokio::test]
async fn curl_is_turned_away() {
    if curl_is_missing() {
        return;
    }
    // 97 is curl's "proxy handshake error".
    let (target, output) = fetch("", AuthPolicy::Open, Reply::ConnectionRefused).await;
    assert!(target.is_some());
    assert_eq!(output.status.code(), Some(97));
    for user in ["", "alice:wrong@"] {
        let (target, output) = fetch(user, password(), Reply::Succeeded).await;
        assert_eq!(target, None);
        assert!(!output.status.success());
    }
}
