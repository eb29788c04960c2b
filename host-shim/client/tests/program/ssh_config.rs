//! `alknet ssh-config` against a node in this process, and stock ssh with its
//! stanza.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::child::{alknet, assert_clean, assert_fails_with, run, text};
use crate::node::{Does, Node, ssh_host_key};

#[test]
fn the_stanza_carries_the_keys_it_found() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(Does::Ssh);
    let addr = node.addr.to_string();
    let args = ["ssh-config", &addr, "--name", "office", "--user", "git"];
    let output = run(alknet(&args, home.path()));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("first connection"), "{stderr}");
    let stanza = text(&output.stdout);
    let node_key = node.key;
    for part in [
        "Host office\n",
        "    User git\n",
        &format!(" connect {addr} --node-key {node_key}\n"),
        &ssh_host_key(),
        env!("CARGO_BIN_EXE_alknet"),
    ] {
        assert!(stanza.contains(part), "{part:?} not in\n{stanza}");
    }
    let quiet = run(alknet(&args, home.path()));
    assert_clean(&quiet);
    assert_eq!(text(&quiet.stdout), stanza);
}

#[test]
fn with_both_keys_given_no_node_is_asked() {
    let key = format!("ed25519:{}", "ab".repeat(32));
    let host_key = "ssh-ed25519 AAAA";
    let args = [
        "ssh-config",
        "node.invalid",
        "--node-key",
        &key,
        "--host-key",
        host_key,
    ];
    let output = run(alknet(&args, Path::new("/")));
    assert_clean(&output);
    assert!(text(&output.stdout).contains("connect node.invalid:4433"));
}

#[test]
fn a_node_that_speaks_no_ssh_is_explained() {
    let node = Node::start(Does::CloseRudely);
    let (addr, key) = (node.addr.to_string(), node.key.to_string());
    let args = ["ssh-config", &addr, "--node-key", &key];
    assert_fails_with(&run(alknet(&args, Path::new("/"))), &["SSH host key"]);
}

#[test]
fn a_name_ssh_would_misread_is_refused() {
    let node = Node::start(Does::Ssh);
    let (addr, key) = (node.addr.to_string(), node.key.to_string());
    let args = ["ssh-config", &addr, "--node-key", &key, "--name", "*"];
    assert_fails_with(
        &run(alknet(&args, Path::new("/"))),
        &["\"*\" cannot be a host alias"],
    );
}

/// The node lets nobody in: a refused login shows that ssh came all the way
/// there and took the host key for the right one.
#[test]
fn stock_ssh_accepts_the_right_host_key_and_no_other() {
    let node = Node::start(Does::Ssh);
    let Some(right) = ssh_through(&node, None) else {
        return;
    };
    assert!(
        text(&right.stderr).contains("Permission denied"),
        "{}",
        text(&right.stderr)
    );

    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0HvkHw9LcbHsCXpRjPdvTyOHl1fXW5M+Jkq8wdu3v/";
    let wrong = ssh_through(&node, Some(other)).unwrap();
    assert!(
        text(&wrong.stderr).contains("Host key verification failed"),
        "{}",
        text(&wrong.stderr)
    );
}

fn ssh_through(node: &Node, host_key: Option<&str>) -> Option<Output> {
    let home = tempfile::tempdir().unwrap();
    let (addr, key) = (node.addr.to_string(), node.key.to_string());
    let mut args = vec!["ssh-config", &addr, "--node-key", &key];
    args.extend(host_key.iter().flat_map(|key| ["--host-key", key]));
    let stanza = run(alknet(&args, home.path()));
    assert_clean(&stanza);
    let config = home.path().join("config");
    std::fs::write(&config, &stanza.stdout).unwrap();
    let spawned = Command::new("ssh")
        .arg("-F")
        .arg(&config)
        .args(["-o", "BatchMode=yes", "-o", "UserKnownHostsFile=none"])
        .args(["alknet", "true"])
        .env("HOME", home.path())
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match spawned {
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: no stock ssh to try the stanza with: {error}");
            None
        }
        spawned => Some(crate::child::finish(spawned.unwrap())),
    }
}
