//! Subsystems that the configuration gives a command.

use integration_tests::{Ended, Peers, Setup, Ssh, TestKey, TestNode, requires};

const SUBSYSTEMS: &str =
    "services.subsystems = { upper = \"tr a-z A-Z\", who = \"printenv USER\" }";

fn ask(node: &TestNode, key: &TestKey, name: &str) -> Ended {
    let ssh = Ssh::with_key(node, key);
    ssh.program("ssh")
        .args(["-s", "node", name])
        .stdin("some words\n")
        .ended()
}

#[test]
fn a_subsystem_runs_its_command_for_who_may_run_that() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config(SUBSYSTEMS);
    let [all, one, none] = ["all", "one", "none"].map(|id| TestKey::make(setup.folder(), id));
    Peers::new()
        .add("all", &all, &["ssh:exec"])
        .add("one", &one, &["ssh:exec:tr"])
        .add("none", &none, &["ssh:shell"])
        .write(&setup);
    let node = setup.start();

    assert_eq!(ask(&node, &all, "upper").out(), "SOME WORDS\n");
    assert_eq!(ask(&node, &one, "upper").out(), "SOME WORDS\n");
    assert!(ask(&node, &all, "who").status.success());
    for (key, name, remedy) in [
        (&one, "who", "the scope ssh:exec:"),
        (&none, "upper", "the scope ssh:exec:tr "),
        (&all, "lower", "services.subsystems"),
        (&all, "sftp", "the scope ssh:sftp"),
    ] {
        let refused = ask(&node, key, name);
        assert_eq!(refused.code(), 126, "{refused}");
        refused.line_with(&["alknet: ", remedy]);
        assert_eq!(refused.out(), "", "{refused}");
    }
    node.logged(&[
        "request denied",
        "request=\"subsystem\"",
        "no such subsystem",
    ]);
    node.logged(&["request denied", "request=\"subsystem\"", "ssh:exec"]);
}

#[test]
fn a_subsystem_that_cannot_be_is_named_by_the_check() {
    for (subsystems, words) in [
        ("{ sftp = \"cat\" }", "/services/sftp"),
        ("{ \"a,b\" = \"cat\" }", "a,b"),
        ("{ cat = \" \" }", "cat"),
    ] {
        let setup = Setup::new();
        setup.ssh_config(&format!("services.subsystems = {subsystems}"));
        let checked = setup.on_state("check").ended();
        assert!(!checked.status.success(), "{checked}");
        let said = checked.out() + &checked.err();
        assert!(said.contains(words), "{said}");
        assert!(said.contains("services/subsystems"), "{said}");
    }
}

#[test]
fn a_forced_command_takes_the_place_of_everything() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config(SUBSYSTEMS);
    setup.ssh_config("services.shell.enabled = true\nservices.sftp.enabled = true");
    let forced = TestKey::make(setup.folder(), "forced");
    peer(
        &setup,
        "forced",
        &forced,
        "echo \\\"forced <$SSH_ORIGINAL_COMMAND>\\\"",
    );
    let node = setup.start();
    let ssh = Ssh::with_key(&node, &forced);
    assert_eq!(ssh.run("id -u").out(), "forced <id -u>\n");
    assert_eq!(ssh.plain().stdin("id\n").ended().out(), "forced <>\n");
    assert_eq!(ask(&node, &forced, "upper").out(), "forced <tr a-z A-Z>\n");
    assert_eq!(
        ask(&node, &forced, "sftp").out(),
        "forced <internal-sftp>\n"
    );
}

#[test]
fn file_transfer_can_be_forced() {
    if !requires(&["ssh", "sftp"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("services.sftp.root = \"/\"");
    let forced = TestKey::make(setup.folder(), "forced");
    peer(&setup, "forced", &forced, "internal-sftp");
    let node = setup.start();
    let ssh = Ssh::with_key(&node, &forced);
    let listed = ssh
        .program("sftp")
        .args(["-b", "-", "node"])
        .stdin(format!("ls {}\n", node.setup.folder().display()))
        .ended();
    assert!(listed.out().contains("forced.pub"), "{listed}");
    let ended = ssh.run("echo ran");
    assert!(!ended.out().contains("ran"), "{ended}");
}

/// Lets in one peer more, with a forced command and every scope.
fn peer(setup: &Setup, id: &str, key: &TestKey, command: &str) {
    let text = format!(
        "[[peers]]\nid = {id:?}\nkeys = [{:?}]\nscopes = [\"ssh:exec\", \"ssh:shell\", \"ssh:sftp\", \"ssh:unconfined\"]\n\
         resources = {{ \"ssh:command\" = [\"{command}\"] }}\n\n",
        key.public_line()
    );
    setup.append("peers.toml", &text);
}
