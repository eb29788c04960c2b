//! The daemon as its operator meets it.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use alknet_vault::{Ed25519Key, Mnemonic, Vault};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use integration_tests::{
    Ended, HANG, Run, Setup, Ssh, TestKey, TestNode, connect_ssh, dial, openssh_files, requires,
};
use tokio::io::AsyncReadExt;

const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";
/// Computed apart from this project; see the tests of `alknet-vault`.
const NODE_KEY: &str = "ed25519:e78c2766a792f09bfccb51493968ac322283e8d021a30063784d806929762ecc";
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGqd1cQZFfumzCK4dgJjq6RbBoyue+rR0GnHuO6wEYE0";

/// Runs `command` in a node and gives its output.
fn exec(node: &TestNode, command: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = runtime.block_on(async {
        let exec = async {
            let quic = dial(node).await;
            let client = connect_ssh(node, &quic).await;
            let mut process = client.exec(command, &[]).await.unwrap();
            let mut said = String::new();
            process.stdout.read_to_string(&mut said).await.unwrap();
            client.disconnect().await;
            said
        };
        tokio::time::timeout(HANG, exec).await.expect("this hangs")
    });
    runtime.shutdown_background();
    said
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A state directory made from given words.
fn from_words(words: &str) -> (Setup, Ended) {
    let setup = Setup::empty();
    let file = setup.folder().join("words");
    write_private(&file, words);
    let made = setup
        .node(&["init", "--listen", "127.0.0.1:0", "--mnemonic-file"])
        .arg(&file)
        .arg("--authorize")
        .arg(setup.key.public_file())
        .arg("--state")
        .arg(setup.state())
        .ended();
    (setup, made)
}

/// Neither `run` nor `check` succeeds, and both say all of `lines`.
fn assert_unfit(setup: &Setup, lines: &[&[&str]]) {
    for command in ["run", "check"] {
        let ended = setup.on_state(command).ended();
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(!ended.out().contains("ready"), "{ended}");
        for words in lines {
            ended.line_with(words);
        }
    }
}

// --- configuration

#[test]
fn a_fresh_state_folder_is_fine() {
    let setup = Setup::new();
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(ended.err(), "");
    assert!(ended.out().contains("fine"), "{ended}");
    for name in ["mnemonic", "node.toml", "peers.toml"] {
        let mode = fs::metadata(setup.state().join(name))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn faults_in_the_configuration_have_file_line_and_pointer() {
    let setup = Setup::new();
    setup.replace("[log]\n", "[log]\nformt = \"json\"\n");
    setup.replace("listen = \"127.0.0.1:0\"", "listen = 4433");
    let file = setup.config_file().display().to_string();
    let text = fs::read_to_string(setup.config_file()).unwrap();
    let line_of = |part: &str| {
        let line = text.lines().position(|line| line.contains(part)).unwrap() + 1;
        format!("{file}:{line}:")
    };
    assert_unfit(
        &setup,
        &[
            &[
                &line_of("formt"),
                "/log",
                "unknown field \"formt\"",
                "\"format\"",
            ],
            &[&line_of("listen ="), "/listen", "expected", "found 4433"],
        ],
    );
}

#[test]
fn a_plugins_configuration_is_checked_by_its_own_schema() {
    let setup = Setup::new();
    setup.ssh_config("[plugins.config.ssh.limits]\nmax_chanels = 3\nmax_auth_tries = 1000");
    let file = setup.config_file().display().to_string();
    assert_unfit(
        &setup,
        &[
            &[
                &file,
                "/plugins/config/ssh/limits",
                "max_chanels",
                "max_channels",
            ],
            &[
                &file,
                "/plugins/config/ssh/limits/max_auth_tries",
                "100",
                "1000",
            ],
        ],
    );
    let text = fs::read_to_string(setup.config_file()).unwrap();
    let line = text.lines().count();
    let ended = setup.on_state("check").ended();
    ended.line_with(&[&format!("{file}:{line}:18:"), "max_auth_tries"]);
}

/// What would only be noticed by the first who needs it.
#[test]
fn a_check_finds_what_the_machine_lacks() {
    let setup = Setup::new();
    setup.replace(
        "services.exec.shell = \"/bin/sh\"",
        "services.exec.shell = \"/no/shell\"",
    );
    setup.ssh_config(
        "services.subsystems = { backup = \"/no/server --fast\" }\nservices.sftp.root = \"/no/files\"",
    );
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    for words in [
        ["/services/exec/shell", "\"/no/shell\" is not a program"],
        ["/services/subsystems/backup", "no program \"/no/server\""],
        ["/services/sftp/root", "\"/no/files\" cannot be used"],
    ] {
        ended.line_with(&words);
    }
}

#[test]
fn a_misspelt_log_filter_is_refused() {
    for filter in ["inof", "info,,=x", "plugin::ssh=loud"] {
        let setup = Setup::new();
        setup.replace("filter = \"info\"", &format!("filter = \"{filter}\""));
        assert_unfit(&setup, &[&["/log/filter", "expected", filter]]);
    }
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let setup = Setup::new();
    setup.append("node.toml", "\n[log\n");
    let line = fs::read_to_string(setup.config_file())
        .unwrap()
        .lines()
        .count();
    let place = format!("{}:{line}:", setup.config_file().display());
    assert_unfit(&setup, &[&[&place]]);
}

#[test]
fn broken_peers_are_named_with_their_place() {
    let setup = Setup::new();
    setup.append(
        "peers.toml",
        "\n[[peers]]\nid = \"x y\"\nkeys = [\"ssh-dss AAAA\"]\n",
    );
    let file = setup.state().join("peers.toml").display().to_string();
    assert_unfit(
        &setup,
        &[&[&file, "/peers/1/id"], &[&file, "/peers/1/keys/0"]],
    );
}

#[test]
fn several_faults_are_told_at_once() {
    let setup = Setup::new();
    setup.ssh_config("[plugins.config.ssh.runtime]\nworker_threads = 0");
    setup.append("peers.toml", "\n[[peers]]\nname = \"x\"\n");
    write_private(&setup.state().join("mnemonic"), "abandon abandon");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/plugins/config/ssh/runtime/worker_threads"]);
    ended.line_with(&["peers.toml", "/peers/1"]);
    ended.line_with(&["mnemonic"]);
    ended.line_with(&["faults to correct"]);
}

#[test]
fn a_missing_file_is_named() {
    for name in ["mnemonic", "peers.toml", "node.toml"] {
        let setup = Setup::new();
        let path = setup.state().join(name);
        fs::remove_file(&path).unwrap();
        assert_unfit(&setup, &[&[&path.display().to_string()]]);
    }
}

#[test]
fn a_config_can_be_json() {
    let setup = Setup::new();
    fs::remove_file(setup.config_file()).unwrap();
    let json = setup.state().join("node.json");
    fs::write(
        &json,
        "{\n  \"listen\": \"127.0.0.1:0\",\n  \"lisen\": 1\n}\n",
    )
    .unwrap();
    let place = format!("{}:3:3:", json.display());
    assert_unfit(&setup, &[&[&place, "lisen", "listen"]]);
    fs::write(&json, "{ \"listen\": \"127.0.0.1:0\" }").unwrap();
    assert_eq!(exec(&setup.start(), "echo json"), "json\n");
}

// --- keys

#[test]
fn a_wrong_word_and_a_wrong_checksum_are_told_apart() {
    let setup = Setup::new();
    let file = setup.state().join("mnemonic");
    let shown = file.display().to_string();
    write_private(&file, &WORDS.replace("about", "abuot"));
    assert_unfit(&setup, &[&[&shown, "word 12"]]);
    write_private(&file, &WORDS.replace("about", "zoo"));
    assert_unfit(&setup, &[&[&shown, "checksum"]]);
    write_private(&file, "abandon about");
    assert_unfit(&setup, &[&[&shown, "12"]]);
    let ended = setup.on_state("check").ended();
    assert!(!ended.err().contains("abandon"), "{ended}");
}

#[test]
fn a_mnemonic_that_others_can_read_is_refused_with_the_remedy() {
    let setup = Setup::new();
    let file = setup.state().join("mnemonic");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let remedy = format!("chmod 600 {}", file.display());
    assert_unfit(&setup, &[&["0644", &remedy]]);
}

#[test]
fn the_same_words_give_the_same_keys() {
    let (setup, made) = from_words(WORDS);
    assert_eq!(made.code(), 0, "{made}");
    assert!(
        made.out().contains(NODE_KEY) && made.out().contains(HOST_KEY),
        "{made}"
    );
    let node = setup.start();
    assert_eq!(node.node_key.to_string(), NODE_KEY);
    assert_eq!(node.host_key, HOST_KEY);
    assert_eq!(exec(&node, "echo same"), "same\n");
}

#[test]
fn secrets_are_told_to_nobody() {
    let (setup, made) = from_words(WORDS);
    setup.replace("filter = \"info\"", "filter = \"trace\"");
    let node = setup.start();
    assert_eq!(exec(&node, "echo said"), "said\n");
    let process = format!("/proc/{}", node.pid());
    let mut told = vec![made.out(), made.err(), node.stdout()];
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("{process}/{file}")).unwrap();
        told.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    told.push(node.stop().log);

    let vault = Vault::from_mnemonic(&Mnemonic::parse(WORDS).unwrap(), "");
    let mut secrets = vec!["abandon".to_owned()];
    for key in [vault.node_identity(), vault.host_key()] {
        secrets.extend(spellings(&key));
    }
    for text in &told {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in:\n{text}");
        }
    }
    assert!(told.last().unwrap().contains("TRACE"));
}

/// What a private key could look like in a text.
fn spellings(key: &Ed25519Key) -> Vec<String> {
    let seed = key.expose_seed();
    let list: Vec<_> = seed[..6].iter().map(u8::to_string).collect();
    let files = openssh_files(key, "");
    let file = files.private();
    // The last whole line of the file lies within the secret part.
    let inner = file.lines().rev().nth(2).unwrap().to_owned();
    vec![
        seed[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        BASE64_STANDARD.encode(&seed[..30]),
        list.join(", "),
        inner,
        "PRIVATE KEY".to_owned(),
    ]
}

// --- init

#[test]
fn init_does_not_touch_an_existing_node() {
    let setup = Setup::new();
    let before = fs::read(setup.state().join("mnemonic")).unwrap();
    let ended = setup.on_state("init").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["holds a node already"]);
    assert_eq!(fs::read(setup.state().join("mnemonic")).unwrap(), before);
}

#[test]
fn init_that_fails_leaves_nothing_behind() {
    let (setup, ended) = from_words(&WORDS.replace("about", "zoo"));
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(!setup.state().exists());
    let ended = setup
        .on_state("init")
        .args(["--authorize", "/nonexistent/key.pub"])
        .ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/nonexistent/key.pub"]);
    assert!(!setup.state().exists());
    // Half way: the peers file cannot be made.
    fs::create_dir_all(setup.state().join("peers.toml")).unwrap();
    let ended = setup.on_state("init").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    let left: Vec<_> = fs::read_dir(setup.state())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["peers.toml"]);
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one() {
    let setup = Setup::empty();
    let ended = setup
        .on_state("init")
        .arg("--authorize")
        .arg(&setup.key.file)
        .ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["private key"]);
    assert!(!setup.state().exists());
}

#[test]
fn run_without_a_state_folder_says_how_to_make_one() {
    let setup = Setup::empty();
    let ended = setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["alknet-node init"]);
}

// --- running

#[test]
fn a_busy_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let setup = Setup::new();
    setup.replace("127.0.0.1:0", &addr);
    let ended = setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[&addr, "is in use"]);
}

#[test]
fn the_json_log_is_json() {
    let setup = Setup::new();
    setup.replace("format = \"human\"", "format = \"json\"");
    let node = setup.start();
    let ours = node.setup.key.fingerprint();
    assert_eq!(exec(&node, "echo x"), "x\n");
    let mut targets = Vec::new();
    for line in node.stop().log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
        assert!(line["message"].is_string(), "{line}");
        if line["target"] == "plugin::ssh::auth" && line["result"] == "accepted" {
            assert_eq!(line["identity"], "owner");
            assert_eq!(line["key_fingerprint"], ours);
            assert!(
                line["remote_addr"]
                    .as_str()
                    .unwrap()
                    .starts_with("127.0.0.1:")
            );
        }
        targets.push(line["target"].as_str().unwrap().to_owned());
    }
    assert!(
        targets.iter().any(|target| target == "plugin::ssh::auth"),
        "{targets:?}"
    );
}

#[test]
fn a_filter_reaches_into_the_plugin() {
    if !requires(&["ssh"]) {
        return;
    }
    let quiet = Setup::new().start();
    exec(&quiet, "true");
    assert!(!quiet.stop().log.contains("DEBUG"));

    let setup = Setup::new();
    setup.replace(
        "filter = \"info\"",
        "filter = \"warn,plugin::ssh=info,plugin::ssh::russh=debug\"",
    );
    let node = setup.start();
    let ssh = Ssh::to(&node);
    ssh.configure("RekeyLimit 64K");
    let ended = ssh.run("head -c 1000000 /dev/zero");
    assert_eq!(ended.code(), 0, "{ended}");
    node.logged(&["INFO", "plugin::ssh::russh", "re-key"]);
    node.logged(&["INFO", "plugin::ssh::auth", "accepted"]);
    let log = node.stop().log;
    // As root, the node warns of that.
    let of_node = |line: &&str| line.contains("alknet_node") && !line.contains("as root");
    assert_eq!(log.lines().find(of_node), None, "{log}");
    // Where forwards lead is not for the log, and russh's would say it.
    assert!(!log.contains("DEBUG"), "{log}");

    let setup = Setup::new();
    setup.replace("filter = \"info\"", "filter = \"warn\"");
    let node = setup.start();
    exec(&node, "true");
    let log = node.stop().log;
    let other = |line: &&str| !line.contains("as root");
    assert_eq!(log.lines().find(other), None, "{log}");
}

#[test]
fn sigterm_lets_a_session_finish() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let ssh = Ssh::to(&node);
    let started = node.setup.folder().join("started");
    let session = ssh
        .command(&format!(
            "touch {}; sleep 2; echo finished",
            started.display()
        ))
        .spawn();
    integration_tests::eventually("the session runs", || started.exists().then_some(()));
    node.terminate();
    let ended = session.ended();
    assert_eq!(
        (ended.code(), ended.out().as_str()),
        (0, "finished\n"),
        "{ended}"
    );
    assert!(node.wait().status.success());
}

#[test]
fn sigterm_ends_a_session_that_goes_on_too_long() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.append("node.toml", "\n[shutdown]\ndrain_seconds = 1\n");
    let node = setup.start();
    let ssh = Ssh::to(&node);
    let pid = node.setup.folder().join("pid");
    let session = ssh
        .command(&format!(
            "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
            pid.display()
        ))
        .spawn();
    let pid = integration_tests::eventually("the session runs", || fs::read_to_string(&pid).ok());
    let stopped = node.stop();
    assert!(stopped.status.success());
    let ended = session.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["about to stop"]);
    let pid = pid.trim().parse().unwrap();
    integration_tests::eventually("the command has ended", || {
        (!integration_tests::alive(pid)).then_some(())
    });
}

// --- up

/// Runs `ssh alknet` with the stanza exactly as printed.
fn ssh_by_stanza(node: &TestNode) -> Ended {
    let text = node.stdout();
    let (_, rest) = text.split_once("\n# OpenSSH before 8.5").unwrap();
    let (stanza, _) = rest.split_once("\nready").unwrap();
    let config = node.setup.folder().join("printed");
    fs::write(&config, format!("#{stanza}\n")).unwrap();
    Run::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-o", "BatchMode=yes", "alknet", "echo in; exit 7"])
        .env("SSH_AUTH_SOCK", "")
        .ended()
}

#[test]
fn up_in_an_empty_home_lets_its_owner_in() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = TestNode::up(Setup::empty());
    let key = node.setup.state().join("client_key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let ended = ssh_by_stanza(&node);
    assert_eq!((ended.code(), ended.out().as_str()), (7, "in\n"), "{ended}");

    // The second time it is the same node.
    let first = node.node_key;
    let node = TestNode::up(node.stop().setup);
    assert_eq!(node.node_key, first);
    assert_eq!(ssh_by_stanza(&node).code(), 7);
}

#[test]
fn up_authorises_the_keys_its_owner_has() {
    let setup = Setup::empty();
    let folder = setup.folder().join(".ssh");
    fs::create_dir(&folder).unwrap();
    let key = TestKey::make(&folder, "id_ed25519");
    let node = TestNode::up(setup);
    assert!(!node.setup.state().join("client_key").exists());
    assert!(
        node.stdout().contains(&key.fingerprint()),
        "{}",
        node.stdout()
    );
    if requires(&["ssh"]) {
        let ended = Ssh::with_key(&node, &key).run("exit 7");
        assert_eq!(ended.code(), 7, "{ended}");
    }
}

#[test]
fn what_is_printed_first_is_enough_to_log_in() {
    let node = Setup::new().start();
    let text = node.stdout();
    for label in [
        "node key  ed25519:",
        "host key  ssh-ed25519 ",
        "SHA256:",
        "ready     on UDP 127.0.0.1:",
    ] {
        assert!(text.contains(label), "no {label:?} in:\n{text}");
    }
}

#[test]
fn up_lets_in_no_key_without_its_private_half() {
    let setup = Setup::empty();
    let folder = setup.folder().join(".ssh");
    fs::create_dir(&folder).unwrap();
    let own = TestKey::make(&folder, "id_ed25519");
    let colleague = TestKey::make(&folder, "colleague");
    fs::remove_file(&colleague.file).unwrap();
    let stray = TestKey::make(&folder, "stray");
    fs::write(&stray.file, fs::read(&own.file).unwrap()).unwrap();
    let node = TestNode::up(setup);
    let text = node.stdout();
    for (key, why) in [(&colleague, "neither beside it"), (&stray, "another key")] {
        let print = key.fingerprint();
        let said = |line: &&str| line.contains("not authorised") && line.contains(&print);
        let line = text.lines().find(said).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(why), "{line}");
    }
    let peers = fs::read_to_string(node.setup.state().join("peers.toml")).unwrap();
    let blob = |key: &TestKey| key.public_line().split(' ').nth(1).unwrap().to_owned();
    assert!(peers.contains(&blob(&own)), "{peers}");
    assert!(!peers.contains(&blob(&colleague)) && !peers.contains(&blob(&stray)));
}

#[test]
fn files_keep_their_modes_without_a_umask() {
    let setup = Setup::empty();
    let script = "umask 000; exec \"$@\"";
    let public = setup.key.public_file();
    setup
        .node(&["init", "--listen", "127.0.0.1:0", "--authorize"])
        .arg(public)
        .arg("--state")
        .arg(setup.state())
        .under(&["sh", "-c", script, "sh"])
        .output();
    let node = TestNode::start_under(&["sh", "-c", script, "sh"], setup);
    let mut left = vec![node.setup.state()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", path.display());
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
}
