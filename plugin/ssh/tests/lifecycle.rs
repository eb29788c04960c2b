//! Connections, streams, reconfiguration and draining.

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
use std::time::Duration;

use alknet_handler::{Capabilities, HandlerError, IdentityProvider, ProtocolHandler, Secret};
use alknet_ssh::{ClientError, Exit, SshHandler};
use alknet_ssh_config::SshConfig;
use support::{Node, TestConnection, eventually, guard, process_alive, run};
use tokio::io::{AsyncReadExt, duplex};

const PIPE: usize = 64 * 1024;

#[tokio::test]
async fn every_stream_is_an_ssh_connection_of_its_own() {
    let node = Node::new();
    let (first, served) = node.client(PIPE).await;
    let (near, far) = duplex(PIPE);
    served.connection.push(far);
    let second = node.login(near).await.unwrap();
    assert_eq!(node.status()["connections"], 1);
    assert_eq!(node.status()["sessions"], 2);
    drop(first);
    let output = guard("the second", run(&second, "exit 5", b""))
        .await
        .unwrap();
    assert_eq!(output.exit, Exit::Status(5));
    second.disconnect().await;
    served.finish().await;
    assert_eq!(node.status()["connections"], 0);
}

#[tokio::test]
async fn a_connection_has_only_so_many_streams() {
    let node = Node::with(r#"{"limits":{"max_streams":2}}"#, &["ssh:exec"]);
    let (_first, served) = node.client(PIPE).await;
    let (near, far) = duplex(PIPE);
    served.connection.push(far);
    let _second = node.login(near).await.unwrap();
    let (mut near, far) = duplex(PIPE);
    served.connection.push(far);
    let mut said = Vec::new();
    guard("the refusal", near.read_to_end(&mut said))
        .await
        .unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_session_lasts_only_so_long() {
    let node = Node::with(
        r#"{"limits":{"session_lifetime_seconds":1}}"#,
        &["ssh:exec"],
    );
    let (client, served) = node.client(PIPE).await;
    let output = guard("the end", run(&client, "sleep 47310047114731", b"")).await;
    assert!(output.map_or(true, |output| output.exit == Exit::Unknown));
    node.idle().await;
    assert!(!process_alive("47310047114731"));
    served.finish().await;
}

#[tokio::test]
async fn draining_lets_sessions_finish_and_refuses_new_ones() {
    let node = Node::new();
    let (client, served) = node.client(PIPE).await;
    let mut process = guard("exec", client.exec("read line; echo got $line", &[]))
        .await
        .unwrap();
    let drain = tokio::spawn(node.handler.drain(Duration::from_secs(600)));
    eventually("draining", || node.status()["draining"] == true).await;

    let refused = TestConnection::new();
    let result = guard("the refusal", node.serve(&refused)).await.unwrap();
    assert!(matches!(result, Err(HandlerError::Internal(_))));
    assert!(refused.close_reason().is_some());

    process.stdin.send("it\n").await.unwrap();
    assert_eq!(
        guard("output", process.stdout.chunk()).await.unwrap(),
        "got it\n"
    );
    assert_eq!(guard("exit", process.wait()).await, Exit::Status(0));
    assert!(!drain.is_finished());
    client.disconnect().await;
    guard("the drain", drain).await.unwrap();
    guard("the handler", served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_ends_what_is_left_at_the_deadline() {
    let node = Node::with(
        r#"{"services":{"exec":{"kill_grace_seconds":0}}}"#,
        &["ssh:exec"],
    );
    let (client, served) = node.client(PIPE).await;
    let mut process = guard("exec", client.exec("sleep 47320047114732", &[]))
        .await
        .unwrap();
    eventually("its start", || process_alive("47320047114732")).await;
    guard("the drain", node.handler.drain(Duration::from_millis(300))).await;
    assert_eq!(guard("exit", process.wait()).await, Exit::Unknown);
    assert!(client.is_closed());
    assert!(!process_alive("47320047114732"));
    guard("the handler", served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_configuration_is_for_sessions_to_come() {
    let node = Node::new();
    let (old, _served) = node.client(PIPE).await;
    node.handler
        .reconfigure(r#"{"services":{"exec":{"enabled":false}}}"#)
        .unwrap();
    let (new, _served) = node.client(PIPE).await;
    assert!(guard("old", run(&old, "true", b"")).await.is_ok());
    let refused = guard("new", run(&new, "true", b"")).await;
    assert!(matches!(refused, Err(ClientError::CommandRefused)));
}

#[tokio::test]
async fn a_bad_configuration_or_one_that_needs_a_restart_changes_nothing() {
    let node = Node::new();
    let error = node
        .handler
        .reconfigure(r#"{"limits":{"max_channels":0}}"#)
        .unwrap_err();
    assert_eq!(error.pointer, "/limits/max_channels");
    let threads = r#"{"runtime":{"worker_threads":2},"services":{"exec":{"enabled":false}}}"#;
    let error = node.handler.reconfigure(threads).unwrap_err();
    assert_eq!(error.pointer, "/runtime/worker_threads");
    assert!(error.message.contains("restart"), "{error}");
    let (client, _served) = node.client(PIPE).await;
    assert!(guard("exec", run(&client, "true", b"")).await.is_ok());
}

#[tokio::test]
async fn a_handler_needs_a_host_key_and_takes_no_secrets() {
    let identities = Arc::new(support::Identities::default()) as Arc<dyn IdentityProvider>;
    let new = |keys, secrets: Vec<(String, Secret)>| {
        let capabilities = secrets.into_iter().collect::<Capabilities>();
        SshHandler::new(
            SshConfig::default(),
            keys,
            capabilities,
            Arc::clone(&identities),
        )
    };
    assert!(new(vec![], vec![]).is_err());
    let host_key = (*support::key()).clone();
    let secret = ("proxy".to_owned(), Secret::new(b"hush".to_vec()));
    let error = new(vec![host_key.clone()], vec![secret]).unwrap_err();
    assert!(error.message.contains("proxy") && !error.message.contains("hush"));
    assert!(new(vec![host_key], vec![]).is_ok());
}
