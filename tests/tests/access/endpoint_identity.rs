//! What the key counts that a client shows in the QUIC handshake.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use integration_tests::{Ended, Run, Setup, Ssh, TestKey, TestNode, artifacts, requires};

/// A node whose owner has an SSH key and a key for the handshake, and where
/// somebody else has an SSH key.
struct Case {
    node: TestNode,
    endpoint_key: TestKey,
    other: TestKey,
}

fn case(lines: &str) -> Case {
    let setup = Setup::new();
    let endpoint_key = TestKey::make(setup.folder(), "endpoint");
    let other = TestKey::make(setup.folder(), "other");
    let peers = format!(
        "[[peers]]\nid = \"owner\"\nkeys = [{:?}]\nnode_keys = [{:?}]\nscopes = [\"ssh:exec\"]\n\n\
         [[peers]]\nid = \"other\"\nkeys = [{:?}]\nscopes = [\"ssh:exec\"]\n",
        setup.key.public_line(),
        name_of(&endpoint_key),
        other.public_line(),
    );
    let file = setup.state().join("peers.toml");
    fs::write(&file, peers).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    setup.listen_on_tcp().ssh_config(lines);
    Case {
        node: setup.start(),
        endpoint_key,
        other,
    }
}

/// As our client prints it for the list of peers.
fn name_of(key: &TestKey) -> String {
    let run = Run::new(&artifacts().client)
        .arg("identity-key")
        .arg(&key.file);
    run.output().trim().to_owned()
}

impl Case {
    /// Stock ssh over our ProxyCommand, with an SSH key and a key for the
    /// handshake, or without.
    fn ssh(&self, key: Option<&TestKey>, endpoint_key: Option<&TestKey>) -> Ended {
        let node = &self.node;
        let shown = endpoint_key.map(|key| format!(" --identity-key {}", key.file.display()));
        let proxy = format!(
            "ProxyCommand={} connect {} --node-key {}{}",
            artifacts().client.display(),
            node.addr,
            node.node_key,
            shown.unwrap_or_default(),
        );
        let ssh = Ssh::with_key(node, key.unwrap_or(&node.setup.key));
        let method = match key {
            Some(_) => "PreferredAuthentications=publickey",
            None => "PreferredAuthentications=none",
        };
        ssh.program("ssh")
            .args(["-o", &proxy, "-o", method, "node", "echo in"])
            .ended()
    }
}

#[test]
fn the_key_of_the_handshake_logs_in_only_where_it_is_allowed() {
    if !requires(&["ssh"]) {
        return;
    }
    let strict = case("");
    let ended = strict.ssh(None, Some(&strict.endpoint_key));
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["Permission denied"]);

    let open = case("endpoint_identity.allow_none = true");
    let ended = open.ssh(None, Some(&open.endpoint_key));
    assert_eq!(ended.out(), "in\n", "{ended}");
    let line = open.node.logged(&["auth attempt", "accepted"]);
    assert!(line.contains(&name_of(&open.endpoint_key)), "{line}");
    assert!(line.contains("owner"), "{line}");

    // Not without one, nor with one that the node does not know, nor by TCP.
    let stranger = TestKey::make(open.node.setup.folder(), "stranger");
    for key in [None, Some(&stranger)] {
        let ended = open.ssh(None, key);
        assert_eq!(ended.code(), 255, "{ended}");
    }
    let ended = Ssh::over_tcp(&open.node)
        .program("ssh")
        .args(["-o", "PreferredAuthentications=none", "node", "echo in"])
        .ended();
    assert_eq!(ended.code(), 255, "{ended}");
    // Keys of SSH go on to work.
    assert_eq!(open.ssh(Some(&open.node.setup.key), None).out(), "in\n");
}

#[test]
fn a_bound_identity_needs_both_keys_of_one_peer() {
    if !requires(&["ssh"]) {
        return;
    }
    let case = case("endpoint_identity.require_bound_identity = true");
    let owner = &case.node.setup.key;
    let ended = case.ssh(Some(owner), Some(&case.endpoint_key));
    assert_eq!(ended.out(), "in\n", "{ended}");

    // A stolen SSH key alone is useless, and the user hears what is missing.
    let ended = case.ssh(Some(owner), None);
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&[
        "wants a key that it knows in the QUIC handshake",
        "--identity-key",
    ]);
    case.node
        .logged(&["connection rejected", "no known key in the QUIC handshake"]);

    // So are two keys of two peers.
    let ended = case.ssh(Some(&case.other), Some(&case.endpoint_key));
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["Permission denied"]);
    case.node
        .logged(&["auth attempt", "belongs to another identity"]);

    let ended = Ssh::over_tcp(&case.node)
        .program("ssh")
        .args(["-v", "node", "echo in"])
        .ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["wants a key that it knows in the QUIC handshake"]);
}

#[test]
fn a_key_that_cannot_be_shown_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::make(folder.path(), "key");
    let print = |file: &std::path::Path| {
        let run = Run::new(&artifacts().client).arg("identity-key").arg(file);
        let ended = run.ended();
        assert_eq!(ended.code(), 255, "{ended}");
        ended.err()
    };
    fs::set_permissions(&key.file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(print(&key.file).contains("chmod 600"));
    assert!(print(folder.path()).contains("not a regular file"));
    assert!(print(&folder.path().join("none")).contains("cannot be read"));
    let text = folder.path().join("text");
    fs::write(&text, "no key").unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(print(&text).contains("ssh-keygen -t ed25519"));
    if requires(&["ssh-keygen"]) {
        for (kind, passphrase, why) in [
            ("ed25519", "secret", "has a passphrase"),
            ("ecdsa", "", "not an Ed25519 key"),
        ] {
            let file = folder.path().join(kind);
            Run::new("ssh-keygen")
                .args(["-q", "-t", kind, "-N", passphrase, "-f"])
                .arg(&file)
                .output();
            let said = print(&file);
            assert!(said.contains(why), "{said}");
        }
    }
}
