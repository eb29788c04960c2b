//! The configuration changes while the node serves.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use integration_tests::{
    Alknet, Ended, HANG, Setup, Ssh, TestKey, TestNode, artifacts, eventually, requires,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn reload(setup: &Setup) -> Ended {
    setup.on_state("reload").ended()
}

fn dry_run(setup: &Setup) -> Ended {
    setup.on_state("reload").arg("--dry-run").ended()
}

fn peer(id: &str, key: &TestKey) -> String {
    let line = key.public_line();
    format!("\n[[peers]]\nid = \"{id}\"\nkeys = [\"{line}\"]\nscopes = [\"ssh:exec\"]\n")
}

fn may_log_in(ssh: &Ssh) -> bool {
    ssh.run("echo in").out() == "in\n"
}

/// The admin socket, spoken to by hand.
fn admin(node: &TestNode) -> UnixStream {
    let socket = UnixStream::connect(node.setup.state().join("admin.sock")).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket
}

fn ask(socket: &mut UnixStream, line: &str) -> Value {
    socket.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// A node, and the key of a peer that was added after its start.
fn with_a_second_peer() -> (TestNode, TestKey) {
    let node = Setup::new().start();
    let key = TestKey::make(node.setup.folder(), "second");
    node.setup.append("peers.toml", &peer("second", &key));
    (node, key)
}

#[test]
fn peers_come_and_go() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let key = TestKey::make(node.setup.folder(), "second");
    let second = Ssh::with_key(&node, &key);
    assert!(!may_log_in(&second));
    let before = fs::read_to_string(node.setup.state().join("peers.toml")).unwrap();
    node.setup.append("peers.toml", &peer("second", &key));
    assert!(!may_log_in(&second), "nothing was reloaded yet");
    let ended = reload(&node.setup);
    assert_eq!(
        ended.out(),
        "reloaded: generation 2, changed peers\n",
        "{ended}"
    );
    assert!(may_log_in(&second));
    fs::write(node.setup.state().join("peers.toml"), before).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration reloaded", "generation=3", "peers"]);
    assert!(!may_log_in(&second));
    assert!(may_log_in(&Ssh::to(&node)));
}

#[test]
fn a_plugins_configuration_and_the_log_filter_change_live() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    assert!(!node.log().contains("DEBUG"));
    node.setup
        .replace("filter = \"info\"", "filter = \"debug\"");
    node.setup.ssh_config("services.exec.enabled = false");
    let ended = dry_run(&node.setup);
    assert_eq!(
        ended.out(),
        "fine: a reload would change /plugins/config/ssh, /log/filter\n",
        "{ended}"
    );
    assert!(may_log_in(&Ssh::to(&node)), "it was a dry run");
    let ended = reload(&node.setup);
    assert_eq!(
        ended.out(),
        "reloaded: generation 2, changed /plugins/config/ssh, /log/filter\n",
        "{ended}"
    );
    assert!(!may_log_in(&Ssh::to(&node)));
    node.logged(&["DEBUG", "alknet_node", "connection accepted"]);
    let ended = reload(&node.setup);
    assert_eq!(
        ended.out(),
        "reloaded: generation 3, changed nothing\n",
        "{ended}"
    );
}

#[test]
fn every_fault_is_told_and_nothing_changes() {
    if !requires(&["ssh"]) {
        return;
    }
    let (node, key) = with_a_second_peer();
    node.setup
        .append("peers.toml", "\n[[peers]]\nid = \"x y\"\n");
    node.setup.ssh_config("limits.max_chanels = 3");
    let config = fs::read_to_string(node.setup.config_file()).unwrap();
    let line = config.lines().count();
    let file = node.setup.config_file().display().to_string();
    for ended in [dry_run(&node.setup), reload(&node.setup)] {
        assert_eq!(ended.code(), 1, "{ended}");
        assert_eq!(ended.out(), "", "{ended}");
        ended.line_with(&[
            &format!("{file}:{line}:"),
            "/plugins/config/ssh/limits",
            "max_chanels",
            "max_channels",
        ]);
        ended.line_with(&["peers.toml:", "/peers/2/id", "x y"]);
        ended.line_with(&["2 faults; the configuration stays as it was"]);
    }
    assert!(!may_log_in(&Ssh::with_key(&node, &key)));
    node.signal(Signal::HUP);
    node.logged(&["ERROR", "peers.toml:", "/peers/2/id"]);
    node.logged(&["nothing was reloaded"]);
    assert!(!may_log_in(&Ssh::with_key(&node, &key)));
    assert!(may_log_in(&Ssh::to(&node)));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applied() {
    if !requires(&["ssh"]) {
        return;
    }
    let (node, key) = with_a_second_peer();
    node.setup
        .replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
    node.setup
        .replace("format = \"human\"", "format = \"json\"");
    for generation in 2..4 {
        let ended = reload(&node.setup);
        assert_eq!(ended.code(), 0, "{ended}");
        let out = ended.out();
        assert!(
            out.contains("needs a restart: /listen, /log/format\n"),
            "{ended}"
        );
        assert!(out.contains(&format!("generation {generation}")), "{ended}");
    }
    assert!(may_log_in(&Ssh::with_key(&node, &key)));
}

#[test]
fn a_handler_that_refuses_keeps_all_as_it_was() {
    if !requires(&["ssh"]) {
        return;
    }
    let mut setup = Setup::new();
    setup.env("ODD_RECONFIGURE", "fail");
    setup.install(&artifacts().odd, "zz_odd.so");
    let node = setup.start();
    let key = TestKey::make(node.setup.folder(), "second");
    node.setup.append("peers.toml", &peer("second", &key));
    // The SSH plugin is asked first, and takes its part.
    node.setup
        .ssh_config("services.exec.enabled = false\n[plugins.config.odd]\nmood = \"sour\"");
    let line = fs::read_to_string(node.setup.config_file())
        .unwrap()
        .lines()
        .count();
    let ended = reload(&node.setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[
        &format!("node.toml:{line}:"),
        "/plugins/config/odd/mood",
        "no change today",
    ]);
    assert!(may_log_in(&Ssh::to(&node)));
    assert!(!may_log_in(&Ssh::with_key(&node, &key)));
}

#[test]
fn every_handler_hears_that_identities_changed() {
    let mut setup = Setup::new();
    let heard = setup.folder().join("heard");
    setup.env("ODD_CONTROL", heard.to_str().unwrap());
    setup.install(&artifacts().odd, "zz_odd.so");
    let node = setup.start();
    let key = TestKey::make(node.setup.folder(), "second");
    node.setup.append("peers.toml", &peer("second", &key));
    assert_eq!(reload(&node.setup).code(), 0);
    let requests = fs::read_to_string(heard).unwrap();
    assert_eq!(requests, "{\"command\":\"identities_changed\"}\n");
}

#[test]
fn without_a_node_the_command_says_what_to_do() {
    let setup = Setup::new();
    let ended = reload(&setup);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["no node serves", "alknet-node run", "alknet-node check"]);
    // A socket that a dead node left behind makes no difference.
    let mut node = setup.start();
    node.signal(Signal::KILL);
    eventually("it is dead", || (!node.is_running()).then_some(()));
    assert!(node.setup.state().join("admin.sock").exists());
    let ended = reload(&node.setup);
    ended.line_with(&["no node serves"]);
    let node = node.wait().setup.start();
    assert_eq!(reload(&node.setup).code(), 0);
    let stopped = node.stop();
    assert!(!stopped.setup.state().join("admin.sock").exists());
}

#[test]
fn a_second_node_leaves_the_first_alone() {
    let node = Setup::new().start();
    let ended = node.setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["already serves", &node.setup.state().display().to_string()]);
    assert_eq!(reload(&node.setup).code(), 0);
}

#[test]
fn a_state_folder_with_a_long_path_can_be_served() {
    let setup = Setup::new();
    let deep = setup.folder().join("d".repeat(100));
    fs::rename(setup.state(), &deep).unwrap();
    let on_deep = |command: &str| setup.node(&[command, "--state"]).arg(&deep);
    let node = on_deep("run").spawn();
    eventually("it answers", || {
        (on_deep("reload").ended().code() == 0).then_some(())
    });
    drop(node);
}

#[test]
fn the_socket_is_for_its_owner_and_takes_nothing_else() {
    let node = Setup::new().start();
    let path = node.setup.state().join("admin.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let mut socket = admin(&node);
    for (line, said) in [
        ("nonsense\n", "not a JSON object"),
        ("{\"version\":7,\"command\":\"reload\"}\n", "version 1"),
        ("{\"version\":1,\"command\":\"explode\"}\n", "explode"),
    ] {
        let answer = ask(&mut socket, line);
        assert_eq!(answer["version"], 1);
        assert_eq!(answer["ok"], false);
        let message = answer["faults"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
    }
    let answer = ask(&mut socket, "{\"version\":1,\"command\":\"reload\"}\n");
    let expected = json!({
        "version": 1, "ok": true, "generation": 2,
        "changed": [], "needs_restart": [], "warnings": [],
    });
    assert_eq!(answer, expected);
    // An endless line is cut off; others are served meanwhile and after.
    let mut endless = admin(&node);
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    node.setup
        .append("peers.toml", "\n[[peers]]\nid = \"x y\"\n");
    let answer = ask(
        &mut admin(&node),
        "{\"version\":1,\"command\":\"reload\"}\n",
    );
    let fault = &answer["faults"][0];
    assert_eq!(fault["pointer"], "/peers/1/id");
    assert!(fault["file"].as_str().unwrap().ends_with("peers.toml"));
    assert!(fault["line"].as_u64().unwrap() > 1, "{fault}");
}

#[test]
fn each_line_of_a_session_names_the_configuration_it_had() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    assert!(may_log_in(&Ssh::to(&node)));
    node.logged(&["auth attempt", "accepted", "config=1", "generation=1"]);
    assert!(!node.log().contains("config=2"));
    assert_eq!(reload(&node.setup).code(), 0);
    assert!(may_log_in(&Ssh::to(&node)));
    node.logged(&["auth attempt", "accepted", "config=2", "generation=1"]);
}

#[test]
fn half_a_file_is_refused_unless_it_is_meant() {
    let node = Setup::new().start();
    let peers_file = node.setup.state().join("peers.toml");
    let user = Alknet::to(&node);
    let config_file = node.setup.config_file();
    for (file, next) in [
        (config_file, "format = "),
        (peers_file.clone(), "scopes = "),
    ] {
        let whole = fs::read_to_string(&file).unwrap();
        // Empty, and ended before a field of an entry.
        for half in ["", &whole[..whole.find(next).unwrap()]] {
            fs::write(&file, half).unwrap();
            for ended in [dry_run(&node.setup), reload(&node.setup)] {
                assert_eq!(ended.code(), 1, "{half:?} {ended}");
                let name = file.file_name().unwrap().to_str().unwrap();
                ended.line_with(&[name, "half of a file", "--accept-empty"]);
            }
        }
        // By a signal as well.
        fs::write(&file, "").unwrap();
        node.signal(Signal::HUP);
        node.logged(&["ERROR", "half of a file"]);
        assert_eq!(user.exec("true").ended().code(), 0);
        fs::write(&file, whole).unwrap();
        assert_eq!(reload(&node.setup).code(), 0);
    }
    fs::write(&peers_file, "").unwrap();
    let meant = node.setup.on_state("reload").arg("--accept-empty");
    let meant = meant.ended();
    assert_eq!(meant.code(), 0, "{meant}");
    assert_eq!(user.exec("true").ended().code(), 255);
}

#[test]
fn two_files_of_which_one_would_outrank_the_other_are_a_fault() {
    let setup = Setup::new();
    fs::write(setup.state().join("node.json"), "{}").unwrap();
    for command in ["check", "run"] {
        let ended = setup.on_state(command).ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&["node.json", "node.toml is there as well"]);
    }
}

#[test]
fn a_dry_run_refuses_what_a_reload_would() {
    let node = Setup::new().start();
    let setup = &node.setup;
    setup
        .node(&["secret", "set", "audit", "--state"])
        .arg(setup.state())
        .stdin("0123456789abcdef0123456789abcdef")
        .output();
    // The handler that runs was not granted it.
    let file = setup.folder().join("audit.jsonl");
    setup.ssh_config(&format!(
        "audit = {{ file = {file:?}, destinations = \"hashed\", hash_key = \"audit\" }}"
    ));
    setup.append("node.toml", "\n[plugins.secrets]\nssh = [\"audit\"]\n");
    for ended in [dry_run(setup), reload(setup)] {
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&["/audit/hash_key", "refuses this", "no secret"]);
    }
}

#[test]
fn other_keys_are_told_although_their_file_has_the_same_name() {
    let node = Setup::new().start();
    let other = Setup::new();
    let ended = dry_run(&node.setup);
    assert!(!ended.out().contains("needs a restart"), "{ended}");
    let mnemonic = |setup: &Setup| setup.state().join("mnemonic");
    fs::copy(mnemonic(&other), mnemonic(&node.setup)).unwrap();
    for ended in [dry_run(&node.setup), reload(&node.setup)] {
        assert_eq!(ended.code(), 0, "{ended}");
        let out = ended.out();
        assert!(
            out.contains("needs a restart: the keys in mnemonic_file"),
            "{out}"
        );
    }
}
