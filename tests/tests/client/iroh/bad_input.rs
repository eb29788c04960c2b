//! Endpoint ids that are wrong, malformed, unreachable or somebody else's.

use std::net::UdpSocket;

use integration_tests::{Alknet, Ended, Setup, TestNode};

use super::ways::{endpoint_id, port, setup};

fn node() -> TestNode {
    setup("listen = \"127.0.0.1:0\"").start()
}

fn exec(user: &Alknet, node: &TestNode, address: &str) -> Ended {
    let key = &node.host_key;
    let args = ["exec", "--timeout", "4", "--host-key", key, address, "true"];
    user.run(&args).ended()
}

#[test]
fn what_is_wrong_with_an_endpoint_id_is_said() {
    let node = node();
    let user = Alknet::stranger(&node);
    user.has(&node.setup.key);
    let (id, port) = (endpoint_id(&node), port(&node));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = silent.local_addr().unwrap();
    let other = "ab".repeat(32);
    for (address, said) in [
        ("iroh:".to_owned(), "this one has 0"),
        (format!("iroh:{id}00@127.0.0.1:{port}"), "this one has 66"),
        (format!("iroh:x{id}@127.0.0.1:{port}"), "'x' at position 6"),
        (format!("iroh:{id}@127.0.0.1"), "is not a way to a node"),
        (format!("iroh:{id}@ftp://relay"), "is not a way to a node"),
        (format!("iroh:{id}"), "nothing says where"),
        (
            format!("iroh:{id}@{nobody}"),
            "no answer from the endpoint id",
        ),
    ] {
        let ended = exec(&user, &node, &address);
        assert_ne!(ended.code(), 0, "{address}: {ended}");
        assert!(ended.err().contains(said), "{address}: {ended}");
    }
    // A key that nobody has, whatever it is asked at.
    let ended = exec(&user, &node, &format!("iroh:{other}@127.0.0.1:{port}"));
    assert_eq!(ended.code(), 255, "{ended}");
    // Another key is asked for beside the endpoint id.
    let address = format!("iroh:{id}@127.0.0.1:{port}");
    let args = ["ping", "--node-key", &format!("ed25519:{other}"), &address];
    let ended = user.run(&args).ended();
    assert!(ended.err().contains("is another key"), "{ended}");
    let ended = user.run(&["ping", "-p", "1", &address]).ended();
    assert!(ended.err().contains("leave -p out"), "{ended}");
    let ended = exec(&user, &node, &address);
    assert_eq!(ended.code(), 0, "{ended}");
}

#[test]
fn an_impostor_is_refused() {
    let (node, impostor) = (node(), node());
    let user = Alknet::stranger(&node);
    user.has(&node.setup.key);
    let address = format!("iroh:{}@127.0.0.1:{}", endpoint_id(&node), port(&impostor));
    let ended = exec(&user, &node, &address);
    assert_eq!(ended.code(), 255, "{ended}");
    let said = ended.err();
    assert!(said.contains("does not have the key"), "{ended}");
    assert!(said.contains(&endpoint_id(&node)), "{ended}");
}

#[test]
fn a_node_names_what_is_wrong_with_its_part_of_the_configuration() {
    for (lines, said) in [
        ("relays = [\"relay.example.org\"]", "/iroh/relays/0"),
        ("listen = \"4434\"", "/iroh/listen"),
        ("relay = []", "relays"),
    ] {
        let setup = Setup::new();
        setup.replace(
            "[log]",
            &format!("[iroh]\nenabled = true\n{lines}\n\n[log]"),
        );
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(
            ended.err().contains(said) || ended.out().contains(said),
            "{ended}"
        );
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let setup = setup(&format!("listen = \"{addr}\""));
    let ended = setup.on_state("run").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    assert!(ended.err().contains(&addr.to_string()), "{ended}");
}
