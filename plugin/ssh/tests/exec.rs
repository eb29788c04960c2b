//! Commands, as a user of our client sees them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod support;

use alknet_ssh::{Exit, Signal};
use support::{Node, eventually, guard, noise, process_alive, run, run_with, sha256};

const PIPE: usize = 64 * 1024;

#[tokio::test]
async fn exit_statuses_arrive_as_they_are() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    for status in [0, 3, 255] {
        let output = guard("exit", run(&client, &format!("exit {status}"), b"")).await;
        assert_eq!(output.unwrap().exit, Exit::Status(status));
    }
}

#[tokio::test]
async fn standard_error_is_apart_from_standard_output() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    let command = "echo out; echo err >&2; echo more; exit 4";
    let output = guard("echo", run(&client, command, b"")).await.unwrap();
    assert_eq!(output.stdout, b"out\nmore\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.exit, Exit::Status(4));
}

#[tokio::test]
async fn input_comes_back_through_cat_to_the_last_byte() {
    let node = Node::new();
    let (client, _served) = node.client(1 << 20).await;
    let input = noise(10_000_000, 1);
    let output = guard("cat", run(&client, "cat", &input)).await.unwrap();
    assert_eq!(sha256(&output.stdout), sha256(&input));
    assert_eq!(output.exit, Exit::Status(0));
}

#[tokio::test]
async fn output_is_complete_however_short_the_command_lives() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    for _ in 0..20 {
        let command = "head -c 300000 /dev/zero; head -c 1000 /dev/zero >&2";
        let output = guard("head", run(&client, command, b"")).await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 1000));
        assert_eq!(output.exit, Exit::Status(0));
    }
}

#[tokio::test]
async fn a_command_that_dies_of_a_signal_says_of_which() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    let output = guard("kill", run(&client, "kill -TERM $$", b"")).await;
    let Exit::Signal { signal, .. } = output.unwrap().exit else {
        panic!("no signal");
    };
    assert_eq!(signal, Signal::new("TERM"));
}

#[tokio::test]
async fn a_signal_reaches_the_whole_process_group() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    let command = "trap 'echo got it; exit 7' USR1; echo ready; \
                   while :; do sleep 0.1; done";
    let mut process = guard("exec", client.exec(command, &[])).await.unwrap();
    assert_eq!(
        guard("ready", process.stdout.chunk()).await.unwrap(),
        "ready\n"
    );
    process.signal(Signal::new("USR1")).await.unwrap();
    assert_eq!(
        guard("trap", process.stdout.chunk()).await.unwrap(),
        "got it\n"
    );
    assert_eq!(guard("exit", process.wait()).await, Exit::Status(7));
}

#[tokio::test]
async fn the_environment_is_clean() {
    let node = Node::with(
        r#"{"services":{"exec":{"environment":{"PLACE":"here","LANG":"C"}}}}"#,
        &["ssh:exec", "ssh:env:MINE"],
    );
    let (client, _served) = node.client(PIPE).await;
    let asked = [
        ("LANG", "tlh"),
        ("LC_TIME", "de"),
        ("MINE", "yes"),
        ("LD_PRELOAD", "/tmp/evil.so"),
    ];
    let output = guard("env", run_with(&client, "env; pwd", &asked, b""))
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    assert_eq!(line("PLACE="), Some("here"));
    assert_eq!(
        line("LANG="),
        Some("C"),
        "the configuration has the last word"
    );
    assert_eq!(line("LC_TIME="), Some("de"));
    assert_eq!(line("MINE="), Some("yes"));
    assert_eq!(
        line("SSH_CONNECTION="),
        Some("192.0.2.7 1234 UNKNOWN 65535")
    );
    for name in ["HOME=", "USER=", "LOGNAME=", "SHELL=", "PATH="] {
        assert!(line(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    assert_eq!(line("LD_PRELOAD="), None);
    assert_eq!(line("CARGO_MANIFEST_DIR="), None);
    assert_eq!(
        text.lines().last(),
        line("HOME="),
        "starts in the home directory"
    );
}

#[tokio::test]
async fn a_program_scope_runs_that_program_without_a_shell() {
    let node = Node::with("{}", &["ssh:exec:echo"]);
    let (client, _served) = node.client(PIPE).await;
    let output = guard("echo", run(&client, "echo 'a b' '$HOME' ; id", b""))
        .await
        .unwrap();
    assert_eq!(output.stdout, b"a b $HOME ; id\n");
    let refused = guard("id", run(&client, "id", b"")).await.unwrap();
    support::assert_denied(&refused, "the scope ssh:exec:id (or ssh:exec");
}

#[tokio::test]
async fn without_a_scope_or_with_the_service_off_nothing_runs() {
    for (node, remedy) in [
        (Node::with("{}", &[]), "the scope ssh:exec:id (or ssh:exec"),
        (
            Node::with(r#"{"services":{"exec":{"enabled":false}}}"#, &["ssh:exec"]),
            "services.exec.enabled = true",
        ),
    ] {
        let (client, _served) = node.client(PIPE).await;
        let refused = guard("id", run(&client, "id", b"")).await.unwrap();
        support::assert_denied(&refused, remedy);
        assert_eq!(node.status()["denied_total"], 1);
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_reported_as_a_shell_would() {
    let node = Node::with(
        r#"{"services":{"exec":{"shell":"/nonexistent/sh"}}}"#,
        &["ssh:exec"],
    );
    let (client, _served) = node.client(PIPE).await;
    let output = guard("no shell", run(&client, "id", b"")).await.unwrap();
    assert_eq!(output.exit, Exit::Status(127));
    assert!(!output.stderr.is_empty());

    let node = Node::with("{}", &["ssh:exec:/etc"]);
    let (client, _served) = node.client(PIPE).await;
    let output = guard("a directory", run(&client, "/etc", b""))
        .await
        .unwrap();
    assert_eq!(output.exit, Exit::Status(126));
}

#[tokio::test]
async fn a_command_that_ignores_its_input_ends_all_the_same() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    let output = guard("true", run(&client, "true", &noise(5_000_000, 2))).await;
    assert_eq!(output.unwrap().exit, Exit::Status(0));
    let output = guard("head", run(&client, "head -c 5", &noise(5_000_000, 3))).await;
    assert_eq!(output.unwrap().stdout, noise(5, 3));
}

#[tokio::test]
async fn a_command_whose_output_nobody_wants_is_ended() {
    let node = Node::new();
    let (client, _served) = node.client(PIPE).await;
    let mut process = guard("exec", client.exec("exec yes unwanted-47110047114711", &[]))
        .await
        .unwrap();
    assert!(guard("output", process.stdout.chunk()).await.is_some());
    drop(process.stdout);
    eventually("the end of yes", || {
        !process_alive("unwanted-47110047114711")
    })
    .await;
    let output = guard("the next", run(&client, "yes | head -n 1", b""))
        .await
        .unwrap();
    assert_eq!(output.stdout, b"y\n");
}

#[tokio::test]
async fn a_background_process_that_keeps_the_output_open_does_not_keep_the_channel() {
    let node = Node::with(
        r#"{"services":{"exec":{"background_output_seconds":0,"end_with_channel":true,"kill_grace_seconds":1}}}"#,
        &["ssh:exec"],
    );
    let (client, _served) = node.client(PIPE).await;
    let command = "sleep 47120047114712 & echo started";
    let output = guard("sleep &", run(&client, command, b"")).await.unwrap();
    assert_eq!(output.stdout, b"started\n");
    assert_eq!(output.exit, Exit::Status(0));
    eventually("the end of sleep", || !process_alive("47120047114712")).await;
}

#[tokio::test]
async fn a_command_that_ignores_requests_to_end_is_killed() {
    let node = Node::with(
        r#"{"services":{"exec":{"end_with_channel":true,"kill_grace_seconds":1}}}"#,
        &["ssh:exec"],
    );
    let (client, served) = node.client(PIPE).await;
    let command =
        "trap '' HUP TERM; echo ready; while :; do sleep 0.1; done; : stubborn-47130047114713";
    let mut process = guard("exec", client.exec(command, &[])).await.unwrap();
    guard("ready", process.stdout.chunk()).await.unwrap();
    assert!(process_alive("stubborn-47130047114713"));
    drop(client);
    served.finish().await;
    assert!(!process_alive("stubborn-47130047114713"));
    assert_eq!(node.status()["children"], 0);
}
