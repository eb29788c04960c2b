//! The channel of a first command, which our server opens for our client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::sync::Arc;

use alknet_ssh::{Client, ClientOptions, Exit};
use russh::client::ChannelOpenHandle;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::server::{Auth, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, SshId};
use support::{Node, guard, key, run};
use tokio::io::duplex;
use tokio::sync::mpsc;

const PIPE: usize = 64 * 1024;
const PROMISE: &str = "alknet: the channel for the command follows";

fn for_command() -> ClientOptions {
    ClientOptions {
        for_command: true,
        ..ClientOptions::default()
    }
}

#[tokio::test]
async fn it_serves_one_command_and_the_next_has_its_own() {
    let node = Node::with(r#"{"limits":{"max_channels":1}}"#, &["ssh:exec"]);
    let (near, far) = duplex(PIPE);
    let served = node.serve_stream(far);
    let mut client = node.connect(near, &for_command()).await.unwrap();
    let login = client.authenticate("someone", Arc::clone(&node.user));
    guard("a login", login).await.unwrap();
    for round in 0..3 {
        let input = format!("round {round}");
        let output = run(&client, "cat; exit 7", input.as_bytes());
        let output = guard("a command", output).await.unwrap();
        assert_eq!(output.stdout, input.as_bytes());
        assert_eq!(output.exit, Exit::Status(7));
        // The place is given back a moment after the command's end.
        guard("the channel's end", async {
            while node.status()["channels"] != 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    guard("the goodbye", client.leave()).await;
    served.finish().await;
    node.idle().await;
}

#[tokio::test]
async fn an_unused_one_ends_with_the_connection() {
    let node = Node::new();
    let (near, far) = duplex(PIPE);
    let served = node.serve_stream(far);
    let mut client = node.connect(near, &for_command()).await.unwrap();
    let login = client.authenticate("someone", Arc::clone(&node.user));
    guard("a login", login).await.unwrap();
    guard("the goodbye", client.leave()).await;
    served.finish().await;
    node.idle().await;
}

/// A client that wants none of what the server opens.
struct Refusing(mpsc::UnboundedSender<()>);

impl russh::client::Handler for Refusing {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<russh::client::Msg>,
        reply: ChannelOpenHandle,
        _: &mut russh::client::Session,
    ) -> Result<(), russh::Error> {
        reply.reject(ChannelOpenFailure::ConnectFailed).await;
        let _ = self.0.send(());
        Ok(())
    }
}

async fn refusing(node: &Node, id: &'static str) -> mpsc::UnboundedReceiver<()> {
    let (near, far) = duplex(PIPE);
    node.serve_stream(far);
    let config = Arc::new(russh::client::Config {
        client_id: SshId::Standard(id.into()),
        ..Default::default()
    });
    let (seen, opened) = mpsc::unbounded_channel();
    let session = russh::client::connect_stream(config, near, Refusing(seen)).await;
    let mut session = session.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&node.user), None);
    let login = session.authenticate_publickey("someone", key).await;
    assert!(login.unwrap().success());
    let mut channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "exit 7").await.unwrap();
    guard("the exit status", async {
        loop {
            match channel.wait().await.unwrap() {
                ChannelMsg::ExitStatus { exit_status } => break assert_eq!(exit_status, 7),
                _ => continue,
            }
        }
    })
    .await;
    opened
}

#[tokio::test]
async fn who_refuses_it_opens_another_and_who_does_not_ask_gets_none() {
    let node = Node::new();
    let mut asked = refusing(&node, "SSH-2.0-alknet_1 command").await;
    assert!(asked.try_recv().is_ok());
    for id in [
        "SSH-2.0-alknet_1",
        "SSH-2.0-alknet_1 commands",
        "SSH-2.0-other command",
    ] {
        let mut opened = refusing(&node, id).await;
        assert!(opened.try_recv().is_err(), "{id}");
    }
}

/// A server that opens two session channels as soon as somebody has logged in.
struct Pushing {
    banner: Option<&'static str>,
    accepted: mpsc::UnboundedSender<bool>,
}

impl russh::server::Handler for Pushing {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(self.banner.map(str::to_owned))
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(
        &mut self,
        session: &mut russh::server::Session,
    ) -> Result<(), russh::Error> {
        let handle = session.handle();
        let accepted = self.accepted.clone();
        tokio::spawn(async move {
            for _ in 0..2 {
                let opened = handle.channel_open_session().await;
                let _ = accepted.send(opened.is_ok());
            }
        });
        Ok(())
    }
}

/// Which of its two channels our client takes from such a server.
async fn taken(banner: Option<&'static str>, options: &ClientOptions) -> [bool; 2] {
    let (near, far) = duplex(PIPE);
    let (accepted, mut answers) = mpsc::unbounded_channel();
    let config = Arc::new(russh::server::Config {
        keys: vec![key().as_ref().clone()],
        ..Default::default()
    });
    tokio::spawn(async move {
        let session = russh::server::run_stream(config, far, Pushing { banner, accepted }).await;
        let _ = session.unwrap().await;
    });
    let mut client = Client::connect(near, options, |_| true).await.unwrap();
    client.authenticate("someone", key()).await.unwrap();
    guard("the answers", async {
        [answers.recv().await.unwrap(), answers.recv().await.unwrap()]
    })
    .await
}

#[tokio::test]
async fn a_server_may_open_one_if_we_asked_and_it_promised() {
    assert_eq!(taken(Some(PROMISE), &for_command()).await, [true, false]);
    let unpromised = taken(Some("welcome"), &for_command()).await;
    assert_eq!(unpromised, [false, false]);
    assert_eq!(taken(None, &for_command()).await, [false, false]);
    let unasked = taken(Some(PROMISE), &ClientOptions::default()).await;
    assert_eq!(unasked, [false, false]);
}
