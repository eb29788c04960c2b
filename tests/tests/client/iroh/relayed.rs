//! The relay as the only way: the node is in a network namespace of its own, from
//! which no UDP packet leaves.

use std::net::SocketAddr;

use integration_tests::swapping::status;
use integration_tests::{
    Alknet, Background, NODE, Peers, Run, TestNode, artifacts, eventually, requires, requires_that,
};

use super::relay::OwnRelay;
use super::ways::{Ends, all_of_it_works, bytes, endpoint_id, setup};

/// Set where this process is in a network namespace of its own.
const INSIDE: &str = "ALKNET_TEST_IROH_NAMESPACE";
/// The namespace of the node, and the addresses of both.
const NODES: &str = "node";
const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2";

/// Whether this process is in a namespace of its own. If not, the test is run
/// again in one, and this process has nothing left to do.
fn in_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let root = rustix::process::geteuid().is_root();
    if !requires(&["unshare", "mount", "ip", "ssh"])
        || !requires_that("root", root)
        || !requires_that(
            "network namespaces",
            Run::new("unshare")
                .args(["-m", "-n", "true"])
                .ended()
                .code()
                == 0,
        )
    {
        return false;
    }
    let found = artifacts();
    let script = "mount -t tmpfs none /run && ip link set lo up && exec \"$@\"";
    let program = std::env::current_exe().unwrap();
    let run = Run::new("unshare")
        .args(["-m", "-n", "sh", "-ec", script, "sh"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .env("ALKNET_TEST_NODE", &found.node)
        .env("ALKNET_TEST_CLIENT", &found.client)
        .env("ALKNET_TEST_PLUGIN", &found.plugin)
        .env("ALKNET_TEST_FIXTURE", &found.odd)
        .env("ALKNET_TEST_ECHO", &found.echo);
    let ended = run.ended();
    println!("{}{}", ended.out(), ended.err());
    assert_eq!(ended.code(), 0);
    false
}

fn ip(args: &str) {
    let ended = Run::new("ip").args(args.split(' ')).ended();
    assert_eq!(ended.code(), 0, "ip {args}: {ended}");
}

/// Connects this namespace with that of a node, which sends no UDP.
fn lay_the_wire() {
    ip(&format!("netns add {NODES}"));
    ip(&format!(
        "link add here type veth peer name there netns {NODES}"
    ));
    ip(&format!("addr add {HERE}/24 dev here"));
    ip("link set here up");
    ip(&format!("-n {NODES} addr add {THERE}/24 dev there"));
    ip(&format!("-n {NODES} link set there up"));
    ip(&format!("-n {NODES} link set lo up"));
    // What is sent to the namespace itself is looked up before.
    ip(&format!("-n {NODES} rule add pref 1 ipproto udp prohibit"));
}

/// Lets the node's UDP packets leave.
fn open_the_direct_way() {
    ip(&format!("-n {NODES} rule del pref 1"));
}

fn relay() -> OwnRelay {
    OwnRelay::start(SocketAddr::new(HERE.parse().unwrap(), 0))
}

/// A node in the namespace, connected to the relay.
fn node(relay: &OwnRelay) -> TestNode {
    let setup = setup(&format!(
        "listen = \"{THERE}:4434\"\nrelays = [\"{}\"]",
        relay.url()
    ));
    let node = TestNode::start_under(&["ip", "netns", "exec", NODES], setup);
    is_connected(&node);
    node
}

fn is_connected(node: &TestNode) {
    eventually("the node is connected to the relay", || {
        let status = status(&node.setup);
        (status["node"]["iroh"]["relay_connected"] == true).then_some(())
    });
}

fn address(node: &TestNode, relay: &OwnRelay) -> String {
    format!("iroh:{}@{}", endpoint_id(node), relay.url())
}

#[test]
fn all_of_it_works_through_a_relay_and_the_direct_way_is_found_when_it_opens() {
    if !in_namespace(
        "iroh::relayed::all_of_it_works_through_a_relay_and_the_direct_way_is_found_when_it_opens",
    ) {
        return;
    }
    lay_the_wire();
    let relay = relay();
    let node = node(&relay);
    let address = address(&node, &relay);
    let ends = Ends {
        ours: HERE,
        nodes: THERE,
    };
    all_of_it_works(&node, &address, ends, bytes(4 << 20));

    let user = Alknet::by_address(&node, &address);
    let ended = user.exec("echo \"<$SSH_CONNECTION>\"").ended();
    assert_eq!(ended.out(), "<>\n", "{ended}");

    // A peer that may come from some addresses only has none through the relay.
    let key = &node.setup.key;
    let mut peers = Peers::new();
    peers.add("owner", key, &["ssh:exec"]);
    peers.more("owner", "resources = { \"ssh:from\" = [\"10.77.0.0/24\"] }");
    peers.write(&node.setup);
    let reloaded = node.setup.on_state("reload").ended();
    assert_eq!(reloaded.code(), 0, "{reloaded}");
    let ended = user.exec("true").ended();
    assert_eq!(ended.code(), 255, "{ended}");
    node.logged(&["auth attempt", "a relay proves none"]);

    let mut ping = Background::spawn(user.run(&["ping", "-c", "200", NODE]));
    eventually("ping says that it goes through the relay", || {
        ping.out().contains("through the relay").then_some(())
    });
    open_the_direct_way();
    eventually("the direct way is found", || {
        assert!(ping.status().is_none(), "{}{}", ping.out(), ping.err());
        let told = format!("the connection goes direct to {THERE}:4434 now");
        ping.out().contains(&told).then_some(())
    });
    // By the direct way the peer has an address, and it is one it may come from.
    eventually("the log-in by the direct way is accepted", || {
        let direct = format!("iroh:{}@{THERE}:4434", endpoint_id(&node));
        let user = Alknet::by_address(&node, &direct);
        let ended = user.exec("echo $SSH_CONNECTION").ended();
        ended.out().starts_with(HERE).then_some(())
    });
}

#[test]
fn a_session_waits_for_a_relay_that_vanishes() {
    if !in_namespace("iroh::relayed::a_session_waits_for_a_relay_that_vanishes") {
        return;
    }
    lay_the_wire();
    let first = relay();
    let addr = first.addr();
    let node = node(&first);
    let address = address(&node, &first);
    let user = Alknet::by_address(&node, &address);
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("with the relay");
    drop(first);
    cat.says(&["nothing comes from the node through the relay"])
        .unwrap();
    let run = user.run(&["exec", "--timeout", "3", NODE, "true"]);
    let ended = run.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    let said = ended.err();
    assert!(said.contains("no answer from the endpoint id"), "{ended}");
    assert!(said.contains("not connected to that relay"), "{ended}");
    let _again = OwnRelay::start(addr);
    is_connected(&node);
    cat.echoes("with the relay that is back");
}
