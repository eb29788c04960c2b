//! What the node's monitor is asked for, and what becomes of processes that
//! outlive their channel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alknet_handler::{AuthContext, Identity, ProtocolHandler};
use alknet_session::{Confinement, HandlerSessions, Mode, Program, Tree};
use alknet_ssh::{ClientError, Exit, SystemResolver};
use support::monitor::{Monitor, owner};
use support::{Node, Served, TestConnection, eventually, guard, process_alive, run};
use tokio::io::duplex;

const PIPE: usize = 64 * 1024;
const UNCONFINED: &[&str] = &["ssh:exec", "ssh:shell", "ssh:sftp", "ssh:unconfined"];

fn node(context: HandlerSessions, config: &str, scopes: &[&str]) -> (Node, Monitor) {
    let (monitor, launcher) = Monitor::launcher(context);
    let resolver = Arc::new(SystemResolver::default());
    let node = Node::with_launcher(config, scopes, Some(launcher), resolver);
    (node, monitor)
}

/// A node whose user left a process behind, on a connection that is over.
async fn left_behind(marker: &str) -> (Node, Monitor) {
    let (node, monitor) = node(owner(), "{}", UNCONFINED);
    let (client, served) = node.client(PIPE).await;
    let command = format!("sleep {marker} >/dev/null 2>&1 & echo started");
    let output = guard("sleep &", run(&client, &command, b"")).await.unwrap();
    assert_eq!(output.stdout, b"started\n");
    assert_eq!(output.exit, Exit::Status(0));
    client.disconnect().await;
    served.finish().await;
    eventually("the job on its own", || monitor.jobs() == (1, 1)).await;
    assert!(process_alive(marker));
    (node, monitor)
}

#[tokio::test]
async fn the_monitor_is_told_who_wants_what() {
    let config = r#"{"services":{"exec":{"environment":{"PLACE":"here"}}}}"#;
    let (node, monitor) = node(owner(), config, UNCONFINED);
    let (near, far) = duplex(PIPE);
    let connection = TestConnection::new();
    connection.push(far);
    let auth = AuthContext {
        local_addr: Some("192.0.2.1:22".parse().unwrap()),
        ..AuthContext::default()
    };
    let handled = node.handler.handle(Arc::clone(&connection) as Arc<_>, auth);
    let task = tokio::spawn(handled);
    let client = guard("a login", node.login(near)).await.unwrap();
    let command = "echo $SSH_CONNECTION; echo $SSH_CLIENT; echo $PLACE; exit 3";
    let output = guard("echo", run(&client, command, b"")).await.unwrap();
    let expected = "192.0.2.7 1234 192.0.2.1 22\n192.0.2.7 1234 22\nhere\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(output.exit, Exit::Status(3));
    let start = monitor.starts().pop().unwrap();
    assert_eq!(start.identity, "alice");
    assert_eq!(start.account, None);
    assert_eq!(start.confinement, None, "ssh:unconfined");
    assert_eq!(start.remote.as_deref(), Some("192.0.2.7"));
    let line = command.into();
    assert_eq!(start.program, Program::CommandLine { shell: None, line });
    assert!(!start.terminal);
    client.disconnect().await;
    Served { connection, task }.finish().await;
}

#[tokio::test]
async fn without_a_monitor_nothing_is_started() {
    let resolver = Arc::new(SystemResolver::default());
    let node = Node::with_launcher("{}", UNCONFINED, None, resolver);
    let (client, _served) = node.client(PIPE).await;
    let output = guard("id", run(&client, "id", b"")).await.unwrap();
    assert_eq!(output.exit, Exit::Status(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("monitor"));
}

#[tokio::test]
async fn a_guest_is_confined_to_its_home_and_what_its_entry_lists() {
    let (node, monitor) = node(owner(), "{}", &[]);
    let resources = BTreeMap::from([
        (
            "files".to_owned(),
            vec!["/srv/git:rw".to_owned(), "/srv/www:ro".to_owned()],
        ),
        ("network".to_owned(), vec!["true".to_owned()]),
    ]);
    let guest = Identity {
        id: "team/bob".to_owned(),
        scopes: vec!["ssh:exec".to_owned()],
        resources,
    };
    node.identities.add(&node.user, guest);
    let (client, _served) = node.client(PIPE).await;
    guard("true", run(&client, "true", b"")).await.unwrap();
    let tree = |path: &str, write| Tree {
        path: path.into(),
        write,
    };
    let confined = Confinement {
        home: PathBuf::from("/guests/team%2Fbob"),
        trees: vec![tree("/srv/git", true), tree("/srv/www", false)],
        network: true,
    };
    assert_eq!(monitor.starts()[0].confinement, Some(confined));
}

#[tokio::test]
async fn a_guest_that_cannot_be_confined_is_told_why() {
    let context = HandlerSessions {
        no_confinement: Some("the kernel has no Landlock".to_owned()),
        ..owner()
    };
    let (guests, monitor) = node(context.clone(), "{}", &["ssh:exec"]);
    let (client, _served) = guests.client(PIPE).await;
    let output = guard("id", run(&client, "id", b"")).await.unwrap();
    assert_eq!(output.exit, Exit::Status(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no Landlock"));
    assert!(monitor.starts().is_empty());

    let (owners, _monitor) = node(context, "{}", UNCONFINED);
    let (client, _served) = owners.client(PIPE).await;
    let output = guard("true", run(&client, "true", b"")).await.unwrap();
    assert_eq!(output.exit, Exit::Status(0));
}

#[tokio::test]
async fn where_peers_have_accounts_the_user_name_is_one_of_them() {
    let context = |default: Option<&str>| HandlerSessions {
        mode: Mode::Accounts,
        default_account: default.map(str::to_owned),
        ..owner()
    };
    let peer = |accounts: Option<&[&str]>| Identity {
        id: "alice".to_owned(),
        scopes: vec!["ssh:exec".to_owned()],
        resources: accounts
            .map(|accounts| {
                let accounts = accounts.iter().map(|&account| account.to_owned());
                ("accounts".to_owned(), accounts.collect())
            })
            .into_iter()
            .collect(),
    };
    let two: Option<&[&str]> = Some(&["deploy", "www"]);
    // The default, the peer's accounts, the name given, the account.
    for (default, accounts, user, expected) in [
        (None, two, "www", Ok(Some("www"))),
        (None, two, "root", Err(())),
        (Some("guest"), two, "root", Ok(Some("guest"))),
        (None, None, "deploy", Ok(None)),
        (Some("guest"), None, "deploy", Ok(Some("guest"))),
    ] {
        let (node, monitor) = node(context(default), "{}", &[]);
        node.identities.add(&node.user, peer(accounts));
        let (near, far) = duplex(PIPE);
        let _served = node.serve_stream(far);
        let client = match (guard("a login", node.login_as(user, near)).await, expected) {
            (Ok(client), Ok(_)) => client,
            (Err(ClientError::AuthenticationFailed), Err(())) => continue,
            (other, _) => panic!("{user}: {:?}", other.err()),
        };
        let output = guard("true", run(&client, "true", b"")).await.unwrap();
        match expected.unwrap() {
            Some(account) => {
                assert_eq!(output.exit, Exit::Status(0));
                assert_eq!(monitor.starts()[0].account.as_deref(), Some(account));
            }
            None => {
                assert_eq!(output.exit, Exit::Status(126));
                assert!(String::from_utf8_lossy(&output.stderr).contains("no account"));
                assert!(monitor.starts().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn what_is_left_behind_lives_until_its_grant_is_taken_back() {
    let (node, monitor) = left_behind("48110048114811").await;
    let changed = r#"{"command":"identities_changed"}"#;
    // Nothing that matters has changed.
    node.handler.control(changed).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(process_alive("48110048114811"));
    node.identities.add(
        &node.user,
        support::identity("alice", &["ssh:shell", "ssh:unconfined"]),
    );
    node.handler.control(changed).unwrap();
    eventually("its end", || !process_alive("48110048114811")).await;
    eventually("the end of its job", || monitor.jobs() == (0, 0)).await;
}

#[tokio::test]
async fn what_is_left_behind_ends_with_its_identity_and_with_the_rules() {
    let (node, _monitor) = left_behind("48120048124812").await;
    node.identities.remove(&node.user);
    node.handler
        .control(r#"{"command":"identities_changed"}"#)
        .unwrap();
    eventually("its end", || !process_alive("48120048124812")).await;

    let (node, _monitor) = left_behind("48130048134813").await;
    let deny = r#"{"services":{"rules":[{"target":"exec","action":"deny"}]}}"#;
    node.handler.reconfigure(deny).unwrap();
    eventually("its end", || !process_alive("48130048134813")).await;
}

#[tokio::test]
async fn an_identity_that_expires_loses_its_session_and_what_it_left_behind() {
    let (node, _monitor) = node(owner(), "{}", &[]);
    let soon = SystemTime::now() + Duration::from_secs(3);
    let seconds = soon
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expires = chrono::DateTime::from_timestamp(seconds.try_into().unwrap(), 0).unwrap();
    let mut identity = support::identity("alice", UNCONFINED);
    let expires = expires.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    identity
        .resources
        .insert("ssh:expires".to_owned(), vec![expires]);
    node.identities.add(&node.user, identity);
    let (gone, served) = node.client(PIPE).await;
    let (stays, _other) = node.client(PIPE).await;
    let command = "sleep 48140048144814 >/dev/null 2>&1 &";
    guard("sleep &", run(&gone, command, b"")).await.unwrap();
    gone.disconnect().await;
    served.finish().await;
    assert!(process_alive("48140048144814"));
    eventually("its end", || !process_alive("48140048144814")).await;
    eventually("the end of the session", || stays.is_closed()).await;
}

#[tokio::test]
async fn the_operator_closes_a_session_with_all_it_has_started() {
    let (node, monitor) = node(owner(), "{}", UNCONFINED);
    let (client, _served) = node.client(PIPE).await;
    let command = "sleep 48150048154815 >/dev/null 2>&1 &";
    guard("sleep &", run(&client, command, b"")).await.unwrap();
    let mut process = guard("exec", client.exec("echo go; sleep 48160048164816", &[]))
        .await
        .unwrap();
    guard("its start", process.stdout.chunk()).await.unwrap();
    eventually("both", || monitor.jobs() == (2, 1)).await;
    node.handler
        .control(r#"{"command":"close_session","id":1}"#)
        .unwrap();
    eventually("the end of both", || {
        !process_alive("48150048154815") && !process_alive("48160048164816")
    })
    .await;
}

#[tokio::test]
async fn a_setting_ends_everything_with_its_channel() {
    let config = r#"{"services":{"exec":{"end_with_channel":true}}}"#;
    let (node, monitor) = node(owner(), config, UNCONFINED);
    let (client, _served) = node.client(PIPE).await;
    let command = "sleep 48170048174817 >/dev/null 2>&1 &";
    guard("sleep &", run(&client, command, b"")).await.unwrap();
    eventually("its end", || !process_alive("48170048174817")).await;
    eventually("no job", || monitor.jobs() == (0, 0)).await;
}

#[tokio::test]
async fn output_of_the_background_comes_for_as_long_as_somebody_waits() {
    let (node, _monitor) = node(owner(), "{}", UNCONFINED);
    let (client, _served) = node.client(PIPE).await;
    let command = "(sleep 1; echo late) & echo early; exit 7";
    let output = guard("late", run(&client, command, b"")).await.unwrap();
    assert_eq!(output.stdout, b"early\nlate\n");
    assert_eq!(output.exit, Exit::Status(7));
}
