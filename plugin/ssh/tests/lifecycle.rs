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
use alknet_ssh::{Exit, PrivateKey, SshHandler};
use alknet_ssh_config::SshConfig;
use support::{Node, TestConnection, eventually, guard, process_alive, run, run_with};
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
        r#"{"limits":{"session_lifetime_seconds":1},"services":{"exec":{"end_with_channel":true}}}"#,
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
        r#"{"services":{"exec":{"end_with_channel":true,"kill_grace_seconds":0}}}"#,
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
async fn new_rules_are_for_live_sessions_and_new_limits_for_those_to_come() {
    let node = Node::new();
    let (old, _served) = node.client(PIPE).await;
    node.handler
        .reconfigure(r#"{"limits":{"max_env_requests":0}}"#)
        .unwrap();
    let (new, _served) = node.client(PIPE).await;
    let ask = "echo $LANG";
    let environment = [("LANG", "tlh")];
    let output = guard("old", run_with(&old, ask, &environment, b"")).await;
    assert_eq!(output.unwrap().stdout, b"tlh\n");
    let output = guard("new", run_with(&new, ask, &environment, b"")).await;
    assert_eq!(output.unwrap().stdout, b"\n");

    node.handler
        .reconfigure(r#"{"services":{"exec":{"enabled":false}}}"#)
        .unwrap();
    for client in [&old, &new] {
        guard("the refusal", async {
            while !matches!(
                run(client, "true", b"").await.unwrap().exit,
                Exit::Status(126)
            ) {}
        })
        .await;
    }
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
async fn a_handler_needs_a_host_key_and_the_secrets_its_configuration_names() {
    let identities = Arc::new(support::Identities::default()) as Arc<dyn IdentityProvider>;
    let new = |config: &str, keys: &[PrivateKey], secret: &[u8]| {
        let secret = ("upstream".to_owned(), Secret::new(secret.to_vec()));
        SshHandler::new(
            SshConfig::from_json(config).unwrap(),
            keys.to_vec(),
            Capabilities::from_iter([secret]),
            Arc::clone(&identities),
            None,
        )
    };
    let host_key = [(*support::key()).clone()];
    assert!(new("{}", &[], b"").is_err());
    assert!(new("{}", &host_key, b"").is_ok());
    let proxy = |credentials| {
        format!(
            r#"{{"forwarding":{{"egress":{{"proxy":"socks5://localhost:1","credentials":"{credentials}"}}}}}}"#
        )
    };
    assert!(new(&proxy("upstream"), &host_key, b"user:hush").is_ok());
    let error = new(&proxy("other"), &host_key, b"user:hush").unwrap_err();
    assert_eq!(error.pointer, "/forwarding/egress/credentials");
    assert!(error.message.contains("secret set other"), "{error}");
    let error = new(&proxy("upstream"), &host_key, b"hush").unwrap_err();
    assert!(error.message.contains("user:password"), "{error}");
    assert!(!error.message.contains("hush"), "{error}");
}
