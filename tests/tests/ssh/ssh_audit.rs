//! What ssh-audit says of the algorithms.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use integration_tests::{Setup, TestNode, artifacts, requires};

/// The programme speaks TCP only: each connection of its is bridged to the
/// node by a client of ours.
fn audit(node: &TestNode) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (target, key) = (node.addr.to_string(), node.node_key.to_string());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let input: OwnedFd = stream.unwrap().into();
            let output = input.try_clone().unwrap();
            let bridge = Command::new(&artifacts().client)
                .args(["connect", &target, "--node-key", &key])
                .stdin(Stdio::from(input))
                .stdout(Stdio::from(output))
                .stderr(Stdio::null())
                .spawn();
            std::thread::spawn(move || bridge.unwrap().wait());
        }
    });
    let output = Command::new("ssh-audit")
        .args(["--batch", "--no-colors", "--skip-rate-test", "-4", "-p"])
        .arg(port.to_string())
        .arg("127.0.0.1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

#[test]
fn nothing_fails_and_only_the_old_curve_gets_a_warning() {
    if !requires(&["ssh-audit"]) {
        return;
    }
    let node = TestNode::start(Setup::new());
    let (_, report) = audit(&node);
    assert!(report.contains("(kex) mlkem768x25519-sha256"), "{report}");
    assert!(report.contains("(key) ssh-ed25519"), "{report}");
    assert!(!report.contains("[fail]"), "{report}");
    for line in report.lines().filter(|line| line.contains("[warn]")) {
        // The price of serving OpenSSH before 9.9 (ADR 18).
        let curve = line.contains("curve25519-sha256") || line.contains("post-quantum");
        assert!(curve, "{line}\n{report}");
    }
}

#[test]
fn with_post_quantum_required_there_is_no_warning_at_all() {
    if !requires(&["ssh-audit"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("transport = { require_post_quantum = true }");
    let node = TestNode::start(setup);
    let (code, report) = audit(&node);
    assert!(report.contains("(kex) mlkem768x25519-sha256"), "{report}");
    assert!(
        !report.contains("[fail]") && !report.contains("[warn]"),
        "{report}"
    );
    assert_eq!(code, Some(0), "{report}");
}
