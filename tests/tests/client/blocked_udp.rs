//! Nothing comes through over UDP: the user is told, and TCP is used where it
//! is known.

use std::net::{SocketAddr, UdpSocket};

use integration_tests::target::{answers, free_port};
use integration_tests::{Alknet, Background, NODE, Setup, Ssh, Target, TestNode};

/// A port at which nobody answers.
fn nobody() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn node() -> TestNode {
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.grant(&["ssh:forward:*:*"]);
    setup.start()
}

fn tcp(node: &TestNode) -> String {
    node.tcp.unwrap().to_string()
}

#[test]
fn where_udp_is_blocked_our_client_goes_on_over_tcp() {
    let node = node();
    let (_silent, addr) = nobody();
    let line = format!("tcp = \"{}\"\n", tcp(&node));
    let user = Alknet::told(&node, addr, &line);
    let echo = Target::echo();
    let port = free_port();
    let spec = format!("{port}:127.0.0.1:{}", echo.port());
    let mut forward = Background::spawn(user.run(&["forward", NODE, "-L", &spec]));
    let ended = user.exec("echo over TCP").ended();
    assert_eq!(ended.out(), "over TCP\n", "{ended}");
    let said = ended.err();
    assert!(said.contains("UDP may be blocked"), "{said}");
    assert!(said.contains("trying TCP"), "{said}");
    forward.says(&["listening on"]).unwrap();
    // One lane is not enough for both.
    assert!(answers(SocketAddr::from(([127, 0, 0, 1], port))));
    assert!(answers(SocketAddr::from(([127, 0, 0, 1], port))));
}

#[test]
fn stock_ssh_goes_on_over_tcp_by_its_stanza() {
    let node = node();
    let (_silent, addr) = nobody();
    let ssh = Ssh::at_or_tcp(&node, addr, &tcp(&node));
    let ended = ssh.run("echo over TCP");
    assert_eq!(ended.out(), "over TCP\n", "{ended}");
    assert!(ended.err().contains("UDP may be blocked"), "{ended}");
}

#[test]
fn a_host_key_that_is_not_known_is_not_trusted_over_tcp() {
    let node = node();
    let (_silent, addr) = nobody();
    let user = Alknet::stranger(&node);
    user.has(&node.setup.key);
    let target = format!("{}@{addr}", node.node_key);
    let run = user.run(&["exec", "--tcp", &tcp(&node), &target, "echo no"]);
    let ended = run.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    assert!(ended.err().contains("host key"), "{ended}");
    assert_eq!(ended.out(), "");
}

#[test]
fn what_stands_in_the_way_is_named() {
    let node = node();
    let (_silent, addr) = nobody();
    let user = Alknet::told(&node, addr, "");
    let exec = Background::spawn(user.run(&["exec", "--timeout", "5", NODE, "true"]));
    // The key of the handshake is of no use over TCP.
    let key = user.home().join("identity");
    std::fs::copy(&node.setup.key.file, &key).unwrap();
    let key = key.to_str().unwrap();
    let tcp = tcp(&node);
    let args = [
        "exec",
        "--timeout",
        "5",
        "--identity-key",
        key,
        "--tcp",
        &tcp,
        NODE,
        "true",
    ];
    let ended = user.run(&args).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    assert!(ended.err().contains("Not trying TCP"), "{ended}");
    let ended = exec.ended_by_itself();
    assert_eq!(ended.code(), 255, "{ended}");
    assert!(ended.err().contains("UDP may be blocked"), "{ended}");
    assert!(ended.err().contains("--tcp"), "{ended}");
}
