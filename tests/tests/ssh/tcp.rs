//! The TCP listener, and stock OpenSSH towards it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use integration_tests::{HANG, Random, Setup, Ssh, TestNode, eventually, requires, sha256};
use rustix::process::{Pid, Resource, getrlimit, prlimit};

fn node() -> TestNode {
    let setup = Setup::new();
    setup.replace(
        "# tcp_listen = \"127.0.0.1:2222\"",
        "tcp_listen = \"127.0.0.1:0\"",
    );
    setup.start()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket
}

#[test]
fn stock_ssh_needs_nothing_of_ours() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let ssh = Ssh::over_tcp(&node);
    let ended = ssh.run("echo here; exit 3");
    assert_eq!((ended.code(), ended.out().trim()), (3, "here"), "{ended}");
    // Bytes both ways, to the last one.
    let sent = Random::new(7).bytes(20 << 20);
    let ended = ssh.command("tee /dev/stderr").stdin(sent.clone()).ended();
    assert_eq!(ended.code(), 0);
    assert_eq!(sha256(&ended.stdout), sha256(&sent));
    // QUIC is served as before.
    assert_eq!(Ssh::to(&node).run("echo there").out(), "there\n");
}

#[test]
fn it_is_off_by_default() {
    let node = Setup::new().start();
    assert_eq!(node.tcp, None, "{}", node.stdout());
    let tables = ["tcp", "tcp6"].map(|table| {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", node.pid()));
        table.unwrap_or_default()
    });
    let sockets: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", node.pid()))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(format!(" {inode} "))
        })
        .collect();
    let ours = tables
        .iter()
        .flat_map(|table| table.lines())
        .find(|line| sockets.iter().any(|inode| line.contains(inode)));
    assert_eq!(ours, None);
}

#[test]
fn init_and_up_take_the_address() {
    let setup = Setup::empty();
    setup
        .node(&[
            "init",
            "--listen",
            "127.0.0.1:0",
            "--tcp-listen",
            "127.0.0.1:0",
        ])
        .arg("--state")
        .arg(setup.state())
        .output();
    let text = std::fs::read_to_string(setup.config_file()).unwrap();
    assert!(text.contains("\ntcp_listen = \"127.0.0.1:0\"\n"), "{text}");
    setup.install(
        &integration_tests::artifacts().plugin,
        "libalknet_ssh_plugin.so",
    );
    let node = TestNode::start(setup);
    let addr = node.tcp.unwrap();
    assert_ne!(addr.port(), 0);
    let mut banner = [0; 4];
    connect(addr).read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
}

#[test]
fn a_busy_port_and_a_wrong_alpn_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let setup = Setup::new();
    setup.replace(
        "# tcp_listen = \"127.0.0.1:2222\"",
        &format!("tcp_listen = \"{addr}\""),
    );
    let ended = setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["TCP", &addr, "tcp_listen"]);
    setup.replace("tcp_listen =", "tcp_alpn = \"alknet/shh\"\ntcp_listen =");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["node.toml:", "/tcp_alpn", "alknet/shh"]);
    setup.replace(&addr, "127.0.0.1");
    let ended = setup.on_state("check").ended();
    ended.line_with(&["node.toml:", "/tcp_listen", "127.0.0.1:2222"]);
}

#[test]
fn a_stop_lets_a_session_end_and_takes_no_new_one() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let addr = node.tcp.unwrap();
    let go = node.setup.folder().join("go");
    let began = node.setup.folder().join("began");
    let command = format!(
        "echo on; touch {}; until [ -e {} ]; do sleep 0.05; done; echo off",
        began.display(),
        go.display()
    );
    let session = Ssh::over_tcp(&node).command(&command).spawn();
    eventually("the command runs", || began.exists().then_some(()));
    node.terminate();
    eventually("nobody is let in any more", || {
        TcpStream::connect(addr).is_err().then_some(())
    });
    std::fs::write(&go, "").unwrap();
    let ended = session.ended();
    assert_eq!(ended.out(), "on\noff\n", "{ended}");
    assert!(node.wait().status.success());
}

#[test]
fn running_out_of_descriptors_is_not_the_end() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let addr = node.tcp.unwrap();
    let pid = Pid::from_raw(node.pid().try_into().unwrap());
    let used = std::fs::read_dir(format!("/proc/{}/fd", node.pid()))
        .unwrap()
        .count();
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = Some(used as u64 + 4);
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let crowd: Vec<_> = (0..30).map(|_| connect(addr)).collect();
    node.logged(&["cannot accept TCP connections"]);
    drop(crowd);
    node.logged(&["TCP connections are accepted again"]);
    limit.current = before;
    prlimit(pid, Resource::Nofile, limit).unwrap();
    assert_eq!(Ssh::over_tcp(&node).run("echo back").out(), "back\n");
}

#[test]
fn whatever_is_sent_the_listener_goes_on() {
    let node = node();
    let addr = node.tcp.unwrap();
    for nonsense in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 5000],
        b"SSH-2.0-x\r\n\xff\xff",
    ] {
        let mut socket = connect(addr);
        let _ = socket.write_all(nonsense);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    }
    let mut banner = [0; 4];
    connect(addr).read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-");
}
