//! A direct way: no relay, no discovery, the address known.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use integration_tests::swapping::status;
use integration_tests::{Alknet, NODE, Run, TestKey, TestNode, artifacts, requires};

use super::ways::{Ends, all_of_it_works, bytes, endpoint_id, port, setup};

fn node() -> TestNode {
    setup("listen = \"127.0.0.1:0\"").start()
}

fn address(node: &TestNode) -> String {
    format!("iroh:{}@127.0.0.1:{}", endpoint_id(node), port(node))
}

#[test]
fn all_of_it_works_by_a_direct_way() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let ends = Ends {
        ours: "127.0.0.1",
        nodes: "127.0.0.1",
    };
    all_of_it_works(&node, &address(&node), ends, bytes(8 << 20));
}

#[test]
fn the_node_says_how_it_is_reached_and_both_ways_lead_to_one_identity() {
    let node = node();
    let id = endpoint_id(&node);
    let told = status(&node.setup)["node"]["iroh"].clone();
    assert_eq!(told["endpoint_id"], id, "{told:#}");
    assert_eq!(told["relay_connected"], false, "{told:#}");
    let text = node.setup.on_state("status").output();
    assert!(text.contains(&format!("iroh      iroh:{id}")), "{text}");
    assert!(text.contains("no relay"), "{text}");
    assert!(node.stdout().contains(&format!("iroh:{id}")));

    let user = Alknet::by_address(&node, &address(&node));
    let ended = user.run(&["ping", "-c", "2", NODE]).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains(&node.node_key.to_string()), "{ended}");
    assert!(ended.out().contains("direct to 127.0.0.1:"), "{ended}");
    assert!(ended.out().contains("SSH-2.0-"), "{ended}");
    let ended = user.exec("echo $SSH_CONNECTION").ended();
    assert!(ended.out().starts_with("127.0.0.1 "), "{ended}");
    // The same user by the other way, with the same pinned key.
    let ended = Alknet::to(&node).exec("echo over QUIC").ended();
    assert_eq!(ended.out(), "over QUIC\n", "{ended}");
}

#[test]
fn the_printed_stanza_leads_there() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let user = Alknet::by_address(&node, &address(&node));
    let stanza = user.run(&["ssh-config", NODE, "--name", "there"]).output();
    assert!(stanza.contains(&address(&node)), "{stanza}");
    let config = user.home().join("ssh_config");
    fs::write(&config, stanza).unwrap();
    let key = &node.setup.key.file;
    let ssh = Run::new("ssh").arg("-F").arg(&config).arg("-i").arg(key);
    let ended = user.surrounded(ssh).args(["there", "echo in"]).ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
}

#[test]
fn the_clients_endpoint_id_is_its_key_of_the_handshake() {
    let setup = setup("listen = \"127.0.0.1:0\"");
    let shown = TestKey::make(setup.folder(), "endpoint");
    let name = Run::new(&artifacts().client)
        .arg("identity-key")
        .arg(&shown.file)
        .output();
    let peers = format!(
        "[[peers]]\nid = \"owner\"\nkeys = [{:?}]\nnode_keys = [{:?}]\n\
         scopes = [\"ssh:exec\", \"ssh:unconfined\"]\n",
        setup.key.public_line(),
        name.trim(),
    );
    let file = setup.state().join("peers.toml");
    fs::write(&file, peers).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    setup.ssh_config("endpoint_identity.allow_none = true");
    let node = setup.start();
    let user = Alknet::stranger(&node);
    let file = shown.file.to_str().unwrap();
    let address = address(&node);
    let host_key = &node.host_key;
    let exec = ["exec", "--host-key", host_key, &address, "echo known"];
    let ended = user.run(&exec).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    let with = [&["exec", "--identity-key", file], &exec[1..]].concat();
    let ended = user.run(&with).ended();
    assert_eq!(ended.out(), "known\n", "{ended}");
}
