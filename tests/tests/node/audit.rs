//! The audit stream, and that the log keeps silent about what it may tell.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use integration_tests::{
    Alknet, Reached, Setup, Ssh, Target, TestKey, TestNode, eventually, requires, rules, workspace,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

/// A node that records with these further settings.
fn setup(lines: &str) -> (Setup, PathBuf) {
    let setup = Setup::new();
    let file = setup.folder().join("audit.jsonl");
    setup.ssh_config(&format!(
        "audit.file = {:?}\n{lines}\nforwarding.rules = {}",
        file.to_str().unwrap(),
        rules(&[
            ("allow", "localhost:*", &[]),
            ("deny", "secret.example:*", &[])
        ]),
    ));
    (setup, file)
}

/// The records, each as the schema has it.
fn records(file: &Path) -> Vec<Value> {
    let schema = workspace().join("schema/json/ssh-audit.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let text = fs::read_to_string(file).unwrap_or_default();
    let records = text.lines().map(|line| {
        let record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(schema.is_valid(&record), "{line}");
        record
    });
    records.collect()
}

/// Waits for a record with these members.
fn recorded(file: &Path, members: &[(&str, &str)]) -> Value {
    eventually(&format!("{members:?} is recorded"), || {
        let mut records = records(file).into_iter();
        records.find(|record| {
            members
                .iter()
                .all(|(name, value)| record[name].as_str() == Some(value))
        })
    })
}

/// A session with a forward that is served and one that is not.
fn use_it(node: &TestNode) -> u16 {
    let target = Target::echo();
    let ssh = Ssh::to(node);
    assert_eq!(ssh.run("echo in").out(), "in\n");
    assert_eq!(ssh.reach("localhost", target.port()), Reached::Served);
    assert_eq!(ssh.reach("secret.example", 7), Reached::Prohibited);
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    assert_eq!(Ssh::with_key(node, &stranger).run("true").code(), 255);
    target.port()
}

#[test]
fn who_did_what_is_recorded_and_destinations_only_where_wanted() {
    if !requires(&["ssh"]) {
        return;
    }
    let (setup, file) = setup("audit.destinations = \"full\"");
    setup.replace("filter = \"info\"", "filter = \"trace\"");
    let node = setup.start();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let port = use_it(&node);
    let destination = format!("localhost:{port}");
    let opened = recorded(
        &file,
        &[
            ("event", "channel_opened"),
            ("kind", "direct_tcpip"),
            ("verdict", "granted"),
            ("destination", &destination),
            ("identity", "owner"),
        ],
    );
    let closed = eventually("its end is recorded", || {
        let mut all = records(&file).into_iter();
        all.find(|record| {
            record["event"] == "channel_closed"
                && record["session"] == opened["session"]
                && record["channel"] == opened["channel"]
        })
    });
    let echo = "an echo\n".len();
    assert_eq!(closed["bytes_received"], echo);
    assert_eq!(closed["bytes_sent"], echo);
    assert_eq!(closed["generation"], 1);
    recorded(
        &file,
        &[
            ("event", "channel_opened"),
            ("verdict", "denied"),
            ("destination", "secret.example:7"),
        ],
    );
    recorded(
        &file,
        &[
            ("event", "request"),
            ("kind", "exec"),
            ("verdict", "granted"),
        ],
    );
    recorded(
        &file,
        &[
            ("event", "auth"),
            ("verdict", "denied"),
            ("reason", "unknown key"),
        ],
    );
    recorded(
        &file,
        &[
            ("event", "auth"),
            ("verdict", "granted"),
            ("identity", "owner"),
        ],
    );
    let ended = recorded(&file, &[("event", "session_closed"), ("identity", "owner")]);
    assert!(ended["bytes_received"].as_u64().unwrap() > 1000, "{ended}");

    // The log says nothing of where anything led, at any level.
    let log = node.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for word in [
        destination.as_str(),
        &format!(":{port}"),
        "secret.example",
        &format!("={port}"),
    ] {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "the log names {word}");
    }
}

#[test]
fn no_level_of_any_part_names_a_destination() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.grant(&["ssh:forward:localhost:*", "ssh:listen:localhost:*"]);
    setup.replace(
        "filter = \"info\"",
        "filter = \"trace,plugin::ssh=trace,plugin::ssh::russh=trace\"",
    );
    let node = setup.start();
    let port = use_it_with_listener(&node);
    let log = node.log();
    assert!(log.contains("DEBUG"), "{log}");
    for word in [
        format!("localhost:{port}"),
        format!(":{port}"),
        "secret.example".to_owned(),
    ] {
        let line = log.lines().find(|line| line.contains(&word));
        assert_eq!(line, None, "the log names {word}");
    }
}

fn use_it_with_listener(node: &TestNode) -> u16 {
    let target = Target::echo();
    let ssh = Ssh::to(node);
    assert_eq!(ssh.reach("localhost", target.port()), Reached::Served);
    assert_eq!(ssh.reach("secret.example", 7), Reached::Prohibited);
    let remote = format!("0:localhost:{}", target.port());
    drop(ssh.tunnel(&["-R", &remote]).ok());
    target.port()
}

#[test]
fn hashes_need_a_key_and_hide_what_is_off() {
    if !requires(&["ssh"]) {
        return;
    }
    let (hashed, file) = setup("audit.destinations = \"hashed\"\naudit.hash_key = \"audit\"");
    let refused = hashed.on_state("check").ended();
    let said = format!("{}{}", refused.out(), refused.err());
    assert!(said.contains("no secret \"audit\""), "{said}");
    hashed
        .node(&["secret", "set", "audit", "--state"])
        .arg(hashed.state())
        .stdin("0123456789abcdef0123456789abcdef")
        .output();
    hashed.append("node.toml", "\n[plugins.secrets]\nssh = [\"audit\"]\n");
    let node = hashed.start();
    let port = use_it(&node);
    let opened = recorded(
        &file,
        &[
            ("event", "channel_opened"),
            ("kind", "direct_tcpip"),
            ("verdict", "granted"),
        ],
    );
    let hash = opened["destination"].as_str().unwrap().to_owned();
    assert!(hash.starts_with("hmac-sha256:"), "{hash}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&format!("localhost:{port}")), "{text}");

    let (off, file) = setup("");
    let node = off.start();
    use_it(&node);
    recorded(
        &file,
        &[("event", "channel_opened"), ("kind", "direct_tcpip")],
    );
    assert!(!fs::read_to_string(&file).unwrap().contains("destination"));
}

#[test]
fn a_renamed_file_is_left_and_the_last_session_is_in_the_new_one() {
    if !requires(&["ssh"]) {
        return;
    }
    let (setup, file) = setup("");
    let node = setup.start();
    let ssh = Ssh::to(&node);
    assert_eq!(ssh.run("echo in").out(), "in\n");
    recorded(&file, &[("event", "session_closed")]);
    let old = file.with_extension("1");
    fs::rename(&file, &old).unwrap();
    let lines = fs::read_to_string(&old).unwrap().lines().count();
    assert_eq!(ssh.run("echo in").out(), "in\n");
    // All is written before the node ends.
    let _stopped = node.stop();
    let new = records(&file);
    assert_eq!(new.last().unwrap()["event"], "session_closed");
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), lines);
}

/// Limits what the node may write to one file (setrlimit(2), RLIMIT_FSIZE), as
/// a disk without room does.
fn limit_files(node: &TestNode, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

#[test]
fn what_a_full_disk_cost_is_noted_and_a_torn_line_is_ended() {
    let (setup, file) = setup("");
    // A limit that is met shall be an error, not a signal.
    let script = "trap '' XFSZ; exec \"$@\"";
    let node = TestNode::start_under(&["sh", "-c", script, "sh"], setup);
    let user = Alknet::to(&node);
    assert_eq!(user.exec("true").ended().code(), 0);
    recorded(&file, &[("event", "session_closed")]);
    let full = fs::metadata(&file).unwrap().len() + 10;
    limit_files(&node, Some(full));
    for _ in 0..3 {
        assert_eq!(user.exec("true").ended().code(), 0);
    }
    node.logged(&["ERROR", "audit records are lost"]);
    eventually("a line is torn", || {
        (fs::metadata(&file).unwrap().len() == full).then_some(())
    });
    limit_files(&node, None);
    // Without a record after it.
    let text = eventually("the loss is noted", || {
        let text = fs::read_to_string(&file).unwrap();
        text.contains("\"dropped\"").then_some(text)
    });
    let broken: Vec<_> = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_err())
        .collect();
    assert_eq!(broken.len(), 1, "one line was torn: {broken:?}");
    let noted = text.lines().find(|line| line.contains("\"dropped\""));
    let noted: Value = serde_json::from_str(noted.unwrap()).unwrap();
    assert!(noted["count"].as_u64().unwrap() > 3, "{noted}");
    assert!(
        noted["since"].as_str() <= noted["until"].as_str(),
        "{noted}"
    );
}

#[test]
fn a_line_that_a_killed_node_left_swallows_nothing() {
    let (setup, file) = setup("");
    fs::write(&file, "{\"time\":\"20").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let node = setup.start();
    assert_eq!(Alknet::to(&node).exec("true").ended().code(), 0);
    let text = eventually("something is recorded", || {
        let text = fs::read_to_string(&file).unwrap();
        text.contains("session_closed").then_some(text)
    });
    let broken = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_err());
    assert_eq!(broken.count(), 1, "{text}");
}

#[test]
fn a_file_that_cannot_be_had_is_named_before_the_node_serves() {
    let setup = Setup::new();
    let folder = setup.folder().to_owned();
    let fault = |file: &str| {
        let text = fs::read_to_string(setup.config_file()).unwrap();
        setup.ssh_config(&format!("audit.file = {file:?}"));
        let ended = setup.on_state("run").ended();
        fs::write(setup.config_file(), text).unwrap();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["node.toml:", "audit/file"])
    };
    assert!(fault("audit.jsonl").contains("/audit/file"));
    assert!(fault(folder.to_str().unwrap()).contains("cannot open"));
    assert!(fault("/dev/null").contains("not a regular file"));
}
