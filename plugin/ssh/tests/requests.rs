//! What is not offered is refused, with an answer, and floods are bounded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use russh::client::{Handle, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg};
use support::{Node, Served, guard};

const PIPE: usize = 64 * 1024;

#[tokio::test]
async fn channel_requests_that_are_not_offered_fail() {
    let node = Node::new();
    let (session, _served) = raw(&node).await;
    let mut other = session.channel_open_session().await.unwrap();
    other.request_subsystem(true, "sftp").await.unwrap();
    assert!(answer(&mut other).await, "subsystem, in form");
    let mut channel = session.channel_open_session().await.unwrap();
    channel
        .request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0)
        .await
        .unwrap();
    assert!(!answer(&mut channel).await, "x11-req");
    channel.agent_forward(true).await.unwrap();
    assert!(!answer(&mut channel).await, "auth-agent-req");
    channel.set_env(true, "LD_PRELOAD", "x").await.unwrap();
    assert!(!answer(&mut channel).await, "env");
    channel.set_env(true, "LANG", "C").await.unwrap();
    assert!(answer(&mut channel).await, "an env that is listed");

    // The channel is still good for a command, and only for one.
    channel.exec(true, "cat").await.unwrap();
    assert!(answer(&mut channel).await, "exec");
    channel.exec(true, "cat").await.unwrap();
    assert!(!answer(&mut channel).await, "a second exec");
    channel.request_shell(true).await.unwrap();
    assert!(!answer(&mut channel).await, "a shell after it");
}

#[tokio::test]
async fn a_command_that_needs_a_terminal_it_may_not_have_is_told_so_and_not_run() {
    let node = Node::with(
        r#"{"services":{"shell":{"terminal":false}}}"#,
        &["ssh:exec"],
    );
    let (session, _served) = raw(&node).await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel
        .request_pty(true, "xterm", 80, 24, 0, 0, &[])
        .await
        .unwrap();
    assert!(answer(&mut channel).await, "pty-req, in form");
    channel.exec(true, "echo ran").await.unwrap();
    assert!(answer(&mut channel).await, "exec, in form");
    let mut status = None;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => panic!("it ran: {data:?}"),
            ChannelMsg::ExtendedData { data, .. } => {
                assert!(data.starts_with(b"alknet: a terminal is refused"));
            }
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!(status, Some(126));
}

#[tokio::test]
async fn channels_and_listeners_that_are_not_offered_are_refused() {
    let node = Node::new();
    let (session, _served) = raw(&node).await;
    let refused = |result: Result<Channel<Msg>, russh::Error>| {
        assert!(matches!(result, Err(russh::Error::ChannelOpenFailure(_))));
    };
    refused(
        session
            .channel_open_direct_tcpip("localhost", 22, "localhost", 1)
            .await,
    );
    refused(
        session
            .channel_open_direct_tcpip("localhost", 70_000, "localhost", 1)
            .await,
    );
    refused(session.channel_open_direct_streamlocal("/tmp/x").await);
    refused(session.channel_open_x11("localhost", 1).await);
    assert!(
        guard("tcpip-forward", session.tcpip_forward("", 0))
            .await
            .is_err()
    );
    assert!(
        guard("streamlocal", session.streamlocal_forward("/tmp/x"))
            .await
            .is_err()
    );
    guard("a sign of life", session.send_ping()).await.unwrap();
}

#[tokio::test]
async fn who_asks_for_a_shell_reads_why_there_is_none() {
    let node = Node::new();
    let (session, _served) = raw(&node).await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    let (mut words, mut status) = (Vec::new(), None);
    guard("the end", async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::ExtendedData { data, ext: 1 } => words.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
    })
    .await;
    let words = String::from_utf8(words).unwrap();
    assert!(words.starts_with("alknet: a shell is refused"), "{words}");
    assert!(words.contains("the scope ssh:shell"), "{words}");
    assert_eq!(status, Some(126));
}

#[tokio::test]
async fn thousands_of_environment_requests_do_not_stop_the_session() {
    let node = Node::new();
    let (session, served) = raw(&node).await;
    let mut channel = session.channel_open_session().await.unwrap();
    guard("the flood", async {
        for count in 0..5000 {
            channel
                .set_env(false, format!("LC_{count}"), "x")
                .await
                .unwrap();
        }
        channel.exec(true, "env | grep -c ^LC_").await.unwrap();
    })
    .await;
    let mut count = Vec::new();
    guard("the count", async {
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                count.extend_from_slice(&data);
            }
        }
    })
    .await;
    assert_eq!(count, b"256\n", "as many as the limit allows");
    drop((channel, session));
    served.finish().await;
}

#[tokio::test]
async fn an_environment_has_a_size() {
    let node = Node::new();
    let (session, _served) = raw(&node).await;
    let mut channel = session.channel_open_session().await.unwrap();
    let value = "x".repeat(40_000);
    channel.set_env(true, "LC_A", value.as_str()).await.unwrap();
    assert!(answer(&mut channel).await);
    channel.set_env(true, "LC_B", value.as_str()).await.unwrap();
    assert!(!answer(&mut channel).await, "the second is too much");
    channel.set_env(true, "LC_C", "small").await.unwrap();
    assert!(answer(&mut channel).await);
}

#[tokio::test]
async fn ten_thousand_channels_are_not_opened() {
    let node = Node::with(r#"{"limits":{"max_channels":10}}"#, &["ssh:exec"]);
    let (session, served) = raw(&node).await;
    let mut open = Vec::new();
    guard("the flood", async {
        for _ in 0..10_000 {
            if let Ok(channel) = session.channel_open_session().await {
                open.push(channel);
            }
        }
    })
    .await;
    assert_eq!(open.len(), 10);
    assert_eq!(node.status()["channels"], 10);

    // What is closed makes room.
    guard("close", open.pop().unwrap().close()).await.unwrap();
    guard("room", async {
        while session.channel_open_session().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop((open, session));
    served.finish().await;
    assert_eq!(node.status()["channels"], 0);
}

#[tokio::test]
async fn input_before_any_command_reaches_the_command() {
    let node = Node::new();
    let (session, _served) = raw(&node).await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.data(&b"early\n"[..]).await.unwrap();
    channel.eof().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    let mut output = Vec::new();
    guard("cat", async {
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                output.extend_from_slice(&data);
            }
        }
    })
    .await;
    assert_eq!(output, b"early\n");
}

/// The answer to a channel request.
async fn answer(channel: &mut Channel<Msg>) -> bool {
    guard("an answer", async {
        loop {
            match channel.wait().await.unwrap() {
                ChannelMsg::Success => return true,
                ChannelMsg::Failure => return false,
                _ => {}
            }
        }
    })
    .await
}

async fn raw(node: &Node) -> (Handle<AnyHost>, Served) {
    node.russh(PIPE, AnyHost).await
}

struct AnyHost;

impl russh::client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}
