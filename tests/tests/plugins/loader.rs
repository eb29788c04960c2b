//! Plugins that are not what they should be: the node names each fault on one
//! line, and serves the good plugin beside it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use alknet_quic::QuicStream;
use integration_tests::swapping::bad_libraries;
use integration_tests::{
    Ended, HANG, Setup, TestNode, artifacts, connect_ssh, dial, dial_as, sha256_of_file,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guarded = async { tokio::time::timeout(HANG, future).await };
    let outcome = runtime.block_on(guarded);
    runtime.shutdown_background();
    outcome.expect("this hangs")
}

fn assert_serves_ssh(node: &TestNode) {
    let said = run(async {
        let quic = dial(node).await;
        let client = connect_ssh(node, &quic).await;
        let mut process = client.exec("echo served", &[]).await.unwrap();
        let mut said = String::new();
        process.stdout.read_to_string(&mut said).await.unwrap();
        client.disconnect().await;
        said
    });
    assert_eq!(said, "served\n");
}

/// What comes back when something is said to the fixture.
async fn echoed(node: &TestNode) -> std::io::Result<String> {
    let quic = dial_as(node, None, b"odd/echo")
        .await
        .map_err(std::io::Error::other)?;
    // The node may have closed the connection already.
    let mut stream = QuicStream::new(quic.connection.open_bi().await?);
    stream.write_all(b"echo").await?;
    stream.shutdown().await?;
    let mut back = String::new();
    stream.read_to_string(&mut back).await?;
    Ok(back)
}

fn check(setup: &Setup, file: &Path) -> Ended {
    setup.node(&["plugins", "check"]).arg(file).ended()
}

/// `plugins check` refuses the file on one line that names it and `fault`.
fn assert_refused(setup: &Setup, file: &Path, fault: &str) {
    let ended = check(setup, file);
    assert_eq!(ended.code(), 1, "{ended}");
    assert_eq!(ended.err().lines().count(), 1, "{ended}");
    ended.line_with(&["refused", &file.display().to_string(), fault]);
}

#[test]
fn a_good_plugin_is_accepted_and_described() {
    let setup = Setup::new();
    let file = setup.plugins().join("libalknet_ssh_plugin.so");
    let ended = check(&setup, &file);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(ended.err(), "");
    for part in [
        "accepted",
        "ssh 0.1.0",
        "alknet/ssh",
        "interface 1",
        "rustc 1.",
    ] {
        assert!(ended.out().contains(part), "no {part:?} in {ended}");
    }
    assert!(ended.out().contains(&sha256_of_file(&file)), "{ended}");
}

/// Every way in which a file can be wrong, and the words that name it.
fn bad_files(setup: &Setup) -> Vec<(PathBuf, &'static str)> {
    let good = fs::read(&artifacts().plugin).unwrap();
    let put = |name: &str, bytes: &[u8]| setup.install_bytes(bytes, name);
    let mut files: Vec<_> = bad_libraries()
        .into_iter()
        .map(|bad| (put(&format!("bad-{}.so", bad.name), &bad.bytes), bad.words))
        .collect();
    let group = put("bad-group.so", &good);
    fs::set_permissions(&group, fs::Permissions::from_mode(0o664)).unwrap();
    files.push((group, "writable by group"));
    let link = setup.plugins().join("bad-link.so");
    symlink(&artifacts().plugin, &link).unwrap();
    files.push((link, "is a symbolic link"));
    let folder = setup.plugins().join("bad-folder.so");
    fs::create_dir(&folder).unwrap();
    files.push((folder, "a directory"));
    files
}

#[test]
fn each_bad_file_is_named_and_the_good_one_serves() {
    let setup = Setup::new();
    let bad = bad_files(&setup);
    for (file, fault) in &bad {
        assert_refused(&setup, file, fault);
    }
    let node = setup.start();
    for (file, fault) in &bad {
        node.logged(&["WARN", &file.display().to_string(), fault]);
    }
    assert_serves_ssh(&node);
}

#[test]
fn a_truncated_plugin_is_refused_at_any_length() {
    let setup = Setup::new();
    let good = fs::read(&artifacts().plugin).unwrap();
    let lengths = (0..14)
        .map(|step| good.len() / 14 * step + 63 * step)
        .chain([1, 4, 16, 52, 63, 64, 65, 120, 4096, good.len() - 1]);
    let files: Vec<_> = lengths
        .filter(|&length| length < good.len())
        .map(|length| setup.install_bytes(&good[..length], &format!("cut-{length}.so")))
        .collect();
    assert!(files.len() >= 20);
    let node = setup.start();
    for file in &files {
        node.logged(&["WARN", &format!("{}: ", file.display())]);
    }
    assert_serves_ssh(&node);
}

#[test]
fn a_flipped_bit_is_seen_where_digests_are_listed() {
    let setup = Setup::new();
    let good = fs::read(&artifacts().plugin).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    let bad = setup.install_bytes(&flipped, "flipped.so");
    let digest = sha256_of_file(&artifacts().plugin);
    setup.replace(
        "[plugins]\n",
        &format!("[plugins]\nallow_digests = [\"sha256:{digest}\"]\n"),
    );
    let node = setup.start();
    let line = node.logged(&["WARN", &bad.display().to_string(), "is not allowed"]);
    assert!(
        line.contains(&sha256_of_file(&bad)) && line.contains(&digest),
        "{line}"
    );
    assert_serves_ssh(&node);
}

#[test]
fn a_folder_that_others_can_write_to_is_not_trusted() {
    let setup = Setup::new();
    setup.replace("[plugins]\n", "[plugins]\nallow_none = true\n");
    fs::set_permissions(setup.plugins(), fs::Permissions::from_mode(0o777)).unwrap();
    let node = setup.start();
    let folder = node.setup.plugins().display().to_string();
    let line = node.logged(&["WARN", &folder, "the directory is writable by"]);
    assert!(line.contains("chmod go-w"), "{line}");
    assert!(
        node.stdout().contains("serving nothing"),
        "{}",
        node.stdout()
    );
}

#[test]
fn a_missing_plugins_folder_is_named() {
    let setup = Setup::new();
    fs::remove_dir_all(setup.plugins()).unwrap();
    let ended = setup.on_state("run").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    let folder = setup.plugins().display().to_string();
    ended.line_with(&[&folder, "does not exist"]);
}

#[test]
fn without_its_plugin_the_node_starts_and_with_it_serves_again() {
    let setup = Setup::new();
    let file = setup.plugins().join("libalknet_ssh_plugin.so");
    fs::remove_file(&file).unwrap();
    // Who starts services sees it.
    let ended = setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["there is no plugin in this directory"]);
    ended.line_with(&["no plugin serves", "allow_none = true"]);
    setup.replace("[plugins]\n", "[plugins]\nallow_none = true\n");
    let node = setup.start();
    assert!(
        node.stdout().contains("serving nothing"),
        "{}",
        node.stdout()
    );
    node.logged(&["WARN", "there is no plugin in this directory"]);
    let refused = run(dial_as(&node, None, b"alknet/ssh")).err().unwrap();
    assert_eq!(refused.to_string(), "the node does not speak alknet/ssh");

    let stopped = node.stop();
    assert!(stopped.status.success());
    stopped
        .setup
        .install(&artifacts().plugin, "libalknet_ssh_plugin.so");
    let node = stopped.setup.start();
    assert!(
        node.stdout().contains("serving alknet/ssh"),
        "{}",
        node.stdout()
    );
    assert_serves_ssh(&node);
}

/// A node with the fixture beside the SSH plugin.
fn with_odd(env: &[(&str, &str)]) -> (Setup, PathBuf) {
    let mut setup = Setup::new();
    let file = setup.install(&artifacts().odd, "odd.so");
    for (name, value) in env {
        setup.env(name, value);
    }
    (setup, file)
}

#[test]
fn two_plugins_are_served_side_by_side() {
    let (setup, _) = with_odd(&[]);
    let node = setup.start();
    assert!(
        node.stdout().contains("alknet/ssh, odd/echo"),
        "{}",
        node.stdout()
    );
    assert_eq!(run(echoed(&node)).unwrap(), "echo");
    assert_serves_ssh(&node);
    assert!(node.stop().status.success());
}

#[test]
fn of_two_plugins_for_one_protocol_the_first_serves() {
    let (setup, file) = with_odd(&[("ODD_ALPN", "alknet/ssh")]);
    let node = setup.start();
    let line = node.logged(&["WARN", &file.display().to_string(), "alknet/ssh"]);
    assert!(line.contains("libalknet_ssh_plugin.so"), "{line}");
    assert_serves_ssh(&node);
}

#[test]
fn two_files_with_one_plugin_are_named() {
    let setup = Setup::new();
    let second = setup.install(&artifacts().plugin, "second.so");
    let node = setup.start();
    let line = node.logged(&["WARN", &second.display().to_string(), "left out"]);
    assert!(line.contains("libalknet_ssh_plugin.so"), "{line}");
    assert_serves_ssh(&node);
}

#[test]
fn a_plugin_that_registers_itself_wrongly_is_refused_on_one_line() {
    for (variable, value, words) in [
        ("ODD_INTERFACE", "0", ["plugin interface 0", "speaks 1"]),
        ("ODD_INTERFACE", "2", ["plugin interface 2", "speaks 1"]),
        (
            "ODD_VERSION",
            "notsemver",
            ["\"notsemver\"", "semantic versioning"],
        ),
        ("ODD_SCHEMA", "garbage", ["config schema", "not JSON"]),
        ("ODD_NAME", "Not A Name", ["\"Not A Name\"", "lower-case"]),
        ("ODD_ALPN", "", ["ALPN", "1 to 255"]),
    ] {
        let (setup, file) = with_odd(&[(variable, value)]);
        for word in words {
            assert_refused(&setup, &file, word);
        }
        let node = setup.start();
        node.logged(&["WARN", &file.display().to_string(), words[0], words[1]]);
        assert_serves_ssh(&node);
    }
}

#[test]
fn a_plugin_whose_schema_is_none_is_left_out() {
    // JSON, but no JSON Schema.
    let (setup, file) = with_odd(&[("ODD_SCHEMA", r#"{"type":"no such type"}"#)]);
    setup.append("node.toml", "\n[plugins.config.odd]\nx = 1\n");
    let words = [
        &*file.display().to_string(),
        "JSON Schema is wrong at /type",
    ];
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&words);
    let node = setup.start();
    node.logged(&words);
    assert_serves_ssh(&node);
}

#[test]
fn a_factory_that_fails_or_panics_leaves_the_others_serving() {
    for (manner, words) in [
        ("fail", "the stars do not favour it"),
        ("panic", "has had enough"),
    ] {
        let (setup, file) = with_odd(&[("ODD_FACTORY", manner)]);
        let checked = setup.on_state("check").ended();
        assert_eq!(checked.code(), 1, "{checked}");
        checked.line_with(&[&file.display().to_string(), words]);
        let node = setup.start();
        node.logged(&["WARN", &file.display().to_string(), words]);
        assert!(!node.stdout().contains("odd/echo"), "{}", node.stdout());
        assert_serves_ssh(&node);
    }
}

#[test]
fn a_check_outlives_what_it_checks_and_leaves_nothing_behind() {
    for (load, words) in [
        ("exit", "ended that process with status 3"),
        ("segv", "signal 11 (SIGSEGV)"),
    ] {
        let (mut setup, file) = with_odd(&[("ODD_LOAD", load)]);
        let temporary = setup.folder().join("temporary");
        fs::create_dir(&temporary).unwrap();
        setup.env("TMPDIR", temporary.to_str().unwrap());
        assert_refused(&setup, &file, words);
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }
}

#[test]
fn a_handler_that_panics_ends_one_connection() {
    for manner in ["panic", "panic-later", "panic-unguarded"] {
        let (setup, _) = with_odd(&[("ODD_HANDLE", manner)]);
        let mut node = setup.start();
        for _ in 0..2 {
            run(echoed(&node)).unwrap_err();
        }
        assert_serves_ssh(&node);
        assert!(node.is_running());
        assert!(node.stop().status.success());
    }
}
