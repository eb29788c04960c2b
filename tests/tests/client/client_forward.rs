//! `alknet forward` against a real node.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::channel;

use integration_tests::target::{
    Socket, answers, connect, connect_unix, drain, echo, exchange, free_port, gives_for_ever,
    gives_then_hears,
};
use integration_tests::{
    Alknet, Background, NODE, Random, Run, Setup, Target, TestNode, requires, sha256,
};

const MIB: usize = 1 << 20;

fn node(scopes: &[&str]) -> TestNode {
    let setup = Setup::new();
    setup.grant(scopes);
    setup.start()
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `alknet forward` with these options, once it says all of `ready`.
fn forward(user: &Alknet, options: &[&str], ready: &[&str]) -> Background {
    let mut forward = Background::spawn(user.run(&["forward", NODE]).args(options));
    for words in ready {
        if forward.says(&[words]).is_none() {
            panic!("{}", forward.ended());
        }
    }
    forward
}

/// The port that it says was chosen.
fn port_after(forward: &mut Background, words: &str) -> u16 {
    let line = forward.says(&[words]).unwrap();
    line.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn all_kinds_of_forwards_at_once() {
    let setup = Setup::new();
    let folder = setup.folder().join("sockets");
    std::fs::create_dir(&folder).unwrap();
    let sockets = format!("ssh:streamlocal:{}/**", folder.display());
    setup.grant(&["ssh:forward:*:*", "ssh:listen:*:*", &sockets]);
    let node = setup.start();
    let path = |name: &str| folder.join(name).display().to_string();
    let user = Alknet::to(&node);
    let near = Target::echo();
    let near6 = Target::tcp("[::1]:0", echo);
    Target::unix(&folder.join("target.sock"), echo);
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let to_echo = |port: u16| format!("{port}:127.0.0.1:{}", near.port());
    let forward = forward(
        &user,
        &[
            "-L",
            &to_echo(ports[0]),
            "-L",
            &format!("[::1]:{}:[::1]:{}", ports[1], near6.port()),
            "-L",
            &format!("{}:localhost:{}", path("local.sock"), near.port()),
            "-L",
            &format!("127.0.0.1:{}:{}", ports[2], path("target.sock")),
            "-R",
            &format!("127.0.0.1:{}", to_echo(ports[3])),
            "-R",
            &format!("127.0.0.1:{}:{}", ports[4], path("target.sock")),
            "-R",
            &format!("{}:127.0.0.1:{}", path("remote.sock"), near.port()),
            "-D",
            &ports[5].to_string(),
        ],
        &["the node listens on", "remote.sock"],
    );
    let v6 = |port| SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    for addr in [v4(ports[0]), v6(ports[0]), v6(ports[1]), v4(ports[2])] {
        assert_eq!(exchange(connect(addr).unwrap(), 1, MIB), Ok(()), "{addr}");
    }
    for addr in [v4(ports[3]), v4(ports[4])] {
        assert_eq!(exchange(connect(addr).unwrap(), 1, MIB), Ok(()), "{addr}");
    }
    for name in ["local.sock", "remote.sock"] {
        let socket = connect_unix(&folder.join(name)).unwrap();
        assert_eq!(exchange(socket, 2, MIB), Ok(()), "{name}");
    }
    let mut socks = connect(v4(ports[5])).unwrap();
    socks.write_all(b"\x04\x01").unwrap();
    socks.write_all(&near.port().to_be_bytes()).unwrap();
    socks.write_all(b"\x7f\0\0\x01\0").unwrap();
    let mut answer = [0; 8];
    socks.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [0, 90]);
    assert_eq!(exchange(socks, 3, MIB), Ok(()));
    // Nobody asked to be told where people go.
    let said = forward.err();
    assert!(!said.contains(&near.port().to_string()), "{said}");
    forward.terminate();
    let ended = forward.ended();
    assert_eq!(ended.code(), 128 + 15, "{ended}");
    assert!(!folder.join("local.sock").exists(), "it tidies up");
    assert!(connect(v4(ports[3])).is_err(), "the node listens no more");
}

#[test]
fn a_port_of_ones_choice_is_told() {
    let node = node(&["ssh:forward:*:*", "ssh:listen:*:*"]);
    let user = Alknet::to(&node);
    let target = Target::echo();
    let local = format!("127.0.0.1:0:127.0.0.1:{}", target.port());
    let mut forward = forward(&user, &["-L", &local, "-R", &local], &[]);
    assert!(answers(v4(port_after(&mut forward, "listening on"))));
    assert!(answers(v4(port_after(&mut forward, "the node listens on"))));
}

#[test]
fn each_direction_has_its_own_end_and_no_byte_is_lost() {
    let node = node(&["ssh:forward:*:*"]);
    let user = Alknet::to(&node);
    let (heard, hears) = channel();
    let target = Target::tcp("127.0.0.1:0", gives_then_hears(5, 8 * MIB, heard));
    // Answers before it has heard half of it, and closes.
    let curt = Target::tcp("127.0.0.1:0", |mut socket: Socket| {
        let mut some = vec![0; MIB];
        let _ = socket.read_exact(&mut some);
        let _ = socket.write_all(&Random::new(6).bytes(MIB));
        socket.finish();
        let _ = drain(&mut socket);
    });
    let to = |target: &Target| format!("127.0.0.1:0:127.0.0.1:{}", target.port());
    let mut both = forward(&user, &["-L", &to(&target)], &[]);
    let mut socket = connect(v4(port_after(&mut both, "listening on"))).unwrap();
    let given = drain(&mut socket);
    assert_eq!(given, (8 * MIB, sha256(&Random::new(5).bytes(8 * MIB))));
    socket.write_all(&Random::new(7).bytes(MIB)).unwrap();
    socket.finish();
    let expected = (MIB, sha256(&Random::new(7).bytes(MIB)));
    assert_eq!(hears.recv().unwrap(), expected);

    let mut curt = forward(&user, &["-L", &to(&curt)], &[]);
    let mut socket = connect(v4(port_after(&mut curt, "listening on"))).unwrap();
    socket.write_all(&Random::new(8).bytes(2 * MIB)).unwrap();
    let given = drain(&mut socket);
    assert_eq!(given, (MIB, sha256(&Random::new(6).bytes(MIB))));
}

#[test]
fn a_download_that_nobody_reads_holds_up_nobody() {
    let node = node(&["ssh:forward:*:*"]);
    let user = Alknet::to(&node);
    let endless = Target::tcp("127.0.0.1:0", |socket: Socket| gives_for_ever(1)(socket));
    let echo = Target::echo();
    let to = |port: u16, target: &Target| format!("{port}:127.0.0.1:{}", target.port());
    let (unread, other) = (free_port(), free_port());
    let options = ["-v", "-L", &to(unread, &endless), "-L", &to(other, &echo)];
    let mut forward = forward(&user, &options, &["listening on"]);
    let held: Vec<Socket> = (2..5)
        .map(|lanes| {
            let socket = connect(v4(unread)).unwrap();
            // One more SSH connection stands ready for whoever comes next.
            forward.says_so_often(lanes, &["logged in"]).unwrap();
            socket
        })
        .collect();
    for seed in 0..3 {
        assert_eq!(exchange(connect(v4(other)).unwrap(), seed, 4 * MIB), Ok(()));
    }
    drop(held);
}

#[test]
fn a_local_port_in_use_is_an_error_before_anything_is_asked() {
    let node = node(&["ssh:forward:*:*"]);
    let user = Alknet::to(&node);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let spec = format!("{}:127.0.0.1:1", addr.port());
    let ended = user.run(&["forward", NODE, "-L", &spec]).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    let line = ended.line_with(&[&addr.to_string()]);
    assert!(line.contains("another process"), "{line}");
    assert!(!node.log().contains("connection opened"));
}

#[test]
fn what_the_node_denies_is_told() {
    let node = node(&["ssh:forward:127.0.0.2:*"]);
    let user = Alknet::to(&node);
    let target = Target::echo();
    let remote = format!("127.0.0.1:0:127.0.0.1:{}", target.port());
    let ended = user.run(&["forward", NODE, "-R", &remote]).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["the node does not listen on", "refused"]);

    let mut local = forward(&user, &["-L", &remote], &[]);
    let addr = v4(port_after(&mut local, "listening on"));
    assert!(!answers(addr));
    local.says(&["could not pass on", "prohibited"]).unwrap();
    // Nobody listens there.
    let dead = format!("127.0.0.1:0:127.0.0.2:{}", free_port());
    let mut dead = forward(&user, &["-L", &dead], &[]);
    assert!(!answers(v4(port_after(&mut dead, "listening on"))));
    dead.says(&["could not pass on", "refused"]).unwrap();
    let said = dead.err();
    assert!(!said.contains("127.0.0.2"), "{said}");
}

#[test]
fn a_fault_in_a_specification_is_pointed_at() {
    let node = node(&[]);
    let user = Alknet::to(&node);
    let spec = "8080:[::1:80";
    let ended = user.run(&["forward", NODE, "-L", spec]).ended();
    assert!(!ended.status.success());
    let said = ended.err();
    let lines: Vec<&str> = said.lines().collect();
    let at = lines.iter().position(|line| line.trim() == spec).unwrap();
    let column = lines[at].find("[::1").unwrap();
    assert_eq!(lines[at + 1].find('^'), Some(column), "{said}");
    assert!(said.contains("bracket is missing"), "{said}");
    let none = user.run(&["forward", NODE]).ended();
    assert!(none.err().contains("-L"), "{none}");
}

#[test]
fn ssh_goes_through_a_forward() {
    if !requires(&["ssh"]) {
        return;
    }
    // To the node itself, which listens on TCP as well.
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.grant(&["ssh:forward:127.0.0.1:*"]);
    let node = setup.start();
    let user = Alknet::to(&node);
    let spec = format!("127.0.0.1:0:{}", node.tcp.unwrap());
    let mut forward = forward(&user, &["-L", &spec], &[]);
    let port = port_after(&mut forward, "listening on").to_string();
    let ended = Run::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no"])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-i")
        .arg(&node.setup.key.file)
        .args(["-p", &port, "127.0.0.1", "echo through"])
        .ended();
    assert_eq!(ended.out(), "through\n", "{ended}");
}
