//! The filter for fail2ban, by its own tester, against logs of a node.

use std::fs;

use integration_tests::{
    Run, Setup, Ssh, TestKey, Transport, dial, eventually, log_in, requires, workspace,
};

/// User names that would pass for somebody else's failure, or for a line.
const FORGED: [&str; 4] = [
    "x\" remote_addr=\"192.0.2.1:1\" result=\"refused",
    "x\",\"remote_addr\":\"192.0.2.1:1\",\"result\":\"refused",
    "\n2026-01-01T00:00:00.000000Z  INFO plugin::ssh::auth: auth attempt remote_addr=\"192.0.2.1:1\" result=\"refused\"",
    "192.0.2.1 result=refused",
];

#[test]
fn every_failure_is_found_in_a_human_log() {
    failures_are_found("human");
}

#[test]
fn every_failure_is_found_in_a_json_log() {
    failures_are_found("json");
}

fn failures_are_found(format: &str) {
    if !requires(&["ssh", "fail2ban-regex"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.replace("format = \"human\"", &format!("format = {format:?}"));
    let node = setup.start();
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    for transport in Transport::ALL {
        let owner = Ssh::over(transport, &node, &node.setup.key);
        assert_eq!(owner.run("echo in").out(), "in\n");
        let failing = Ssh::over(transport, &node, &stranger);
        assert_eq!(failing.run("true").code(), 255);
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for name in FORGED {
            let dialled = dial(&node).await;
            let refused = log_in(&node, &dialled, name, &stranger).await;
            assert!(refused.is_err());
            dialled.connection.close(0u32.into(), b"");
            dialled.endpoint.wait_idle().await;
        }
    });
    let log = eventually("all attempts are logged", || {
        let log = node.log();
        let rejected = log.matches("connection rejected").count();
        (rejected >= 2 + FORGED.len()).then_some(log)
    });
    let attempts = |word: &str| {
        let lines = log.lines().filter(|line| line.contains("auth attempt"));
        lines.filter(|line| line.contains(word)).count()
    };
    let failures = log
        .lines()
        .filter(|line| line.contains("unknown key"))
        .count();
    assert!(failures >= 2 + FORGED.len(), "{log}");
    assert_eq!(attempts("accepted"), 2, "{log}");

    let path = node.setup.folder().join("node.log");
    fs::write(&path, &log).unwrap();
    let filter = workspace().join("host-shim/packaging/fail2ban/filter.d/alknet-node.conf");
    let told = Run::new("fail2ban-regex")
        .args(["-v", "--print-all-matched"])
        .arg(&path)
        .arg(&filter)
        .output();
    assert!(
        told.contains(&format!("Failregex: {failures} total")),
        "{told}\n{log}"
    );
    assert!(told.contains(&format!("{failures} matched")), "{told}");
    assert!(!told.contains("   192.0.2.1  "), "{told}");
}
