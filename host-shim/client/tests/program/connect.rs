//! `alknet connect` against a node in this process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use crate::child::{alknet, assert_clean, assert_fails_with, finish, run, text};
use crate::node::{self, Does, Node};

fn pinned(node: &Node) -> std::process::Command {
    let (addr, key) = (node.addr.to_string(), node.key.to_string());
    alknet(&["connect", &addr, "--node-key", &key], Path::new("/"))
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn twenty_megabytes_come_back_whole() {
    let node = Node::start(Does::Echo);
    let mut child = pinned(&node).stdin(Stdio::piped()).spawn().unwrap();
    let data = noise(20_000_003);
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = finish(child);
    writer.join().unwrap();
    assert_clean(&output);
    assert!(
        output.stdout == data,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[test]
fn sockets_and_files_serve_as_standard_input_and_output() {
    let node = Node::start(Does::Echo);
    let data = noise(3_000_001);
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, &data).unwrap();
    let output = run({
        let mut command = pinned(&node);
        command
            .stdin(File::open(&from).unwrap())
            .stdout(File::create(&to).unwrap());
        command
    });
    assert_clean(&output);
    assert!(std::fs::read(&to).unwrap() == data);

    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let far: std::os::fd::OwnedFd = far.into();
    let child = pinned(&node)
        .stdin(far.try_clone().unwrap())
        .stdout(far)
        .spawn()
        .unwrap();
    let mut writing = near.try_clone().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&sent).unwrap();
        writing.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    near.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert_clean(&finish(child));
    assert!(back == data);
}

#[test]
fn the_blocking_mode_of_a_shared_descriptor_is_restored() {
    let node = Node::start(Does::Echo);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let kept: std::os::fd::OwnedFd = far.into();
    let child = pinned(&node)
        .stdin(kept.try_clone().unwrap())
        .stdout(kept.try_clone().unwrap())
        .spawn()
        .unwrap();
    near.shutdown(std::net::Shutdown::Write).unwrap();
    assert_clean(&finish(child));
    let flags = rustix::fs::fcntl_getfl(&kept).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn an_empty_input_still_gets_the_answer() {
    let node = Node::start(Does::Greet);
    let output = run(pinned(&node));
    assert_clean(&output);
    assert_eq!(output.stdout, node::GREETING);
}

#[test]
fn it_ends_when_the_node_does_with_its_input_still_open() {
    let node = Node::start(Does::Greet);
    let mut child = pinned(&node).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A stream is invisible to the node until something is sent on it.
    stdin.write_all(b"hello").unwrap();
    let output = finish(child);
    assert_clean(&output);
    assert_eq!(output.stdout, node::GREETING);
    drop(stdin);
}

#[test]
fn a_connection_closed_without_an_end_is_an_error_with_its_reason() {
    let node = Node::start(Does::CloseRudely);
    let output = run(pinned(&node));
    assert_fails_with(
        &output,
        &["alknet: the node closed the connection: going away"],
    );
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn it_ends_when_nobody_reads_its_output() {
    let node = Node::start(Does::Flood);
    let mut child = pinned(&node).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    assert_fails_with(&finish(child), &[]);
    drop(stdin);
}

#[test]
fn it_ends_when_its_user_is_gone_and_the_node_does_not_notice() {
    let node = Node::start(Does::Ignore);
    let mut child = pinned(&node).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    drop(child.stdout.take());
    assert_fails_with(&finish(child), &[]);
}

#[test]
fn the_node_hears_of_an_end_by_signal_at_once() {
    let node = Node::start(Does::Ignore);
    let mut child = pinned(&node).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    node.wait_for_stream();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    assert_fails_with(&finish(child), &[]);
    let reason = node.wait_for_close();
    assert!(reason.contains("closed by peer"), "{reason}");
}

#[test]
fn the_first_key_is_remembered_and_a_changed_one_refused() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(Does::Greet);
    let addr = node.addr.to_string();
    let connect = || run(alknet(&["connect", &addr], home.path()));

    let first = connect();
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    assert!(text(&first.stderr).contains(&node.key.to_string()));
    let file = home.path().join(".config/alknet/known_nodes");
    let recorded = std::fs::read_to_string(&file).unwrap();
    assert_eq!(recorded, format!("{addr} {}\n", node.key));

    assert_clean(&connect());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), recorded);

    let other = format!("ed25519:{}", "ab".repeat(32));
    std::fs::write(&file, format!("# home\n{addr} {other}\n")).unwrap();
    let changed = connect();
    let place = format!("{}:2", file.display());
    let key = node.key.to_string();
    assert_fails_with(
        &changed,
        &["HAS CHANGED", &other, &key, &place, "remove line"],
    );
    assert_eq!(changed.stdout, b"");

    std::fs::write(&file, "nonsense\n").unwrap();
    let place = format!("{}:1", file.display());
    assert_fails_with(&connect(), &[&place]);
}

#[test]
fn many_first_meetings_at_once_record_one_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("nodes");
    let node = Node::start(Does::Greet);
    let addr = node.addr.to_string();
    let args = ["connect", &addr, "--known-nodes", file.to_str().unwrap()];
    let children: Vec<_> = (0..8)
        .map(|_| alknet(&args, home.path()).spawn().unwrap())
        .collect();
    for child in children {
        assert_eq!(finish(child).status.code(), Some(0));
    }
    let recorded = std::fs::read_to_string(&file).unwrap();
    assert_eq!(recorded, format!("{addr} {}\n", node.key));
}

#[test]
fn quiet_hides_the_notice_and_keeps_the_record() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(Does::Greet);
    let addr = node.addr.to_string();
    assert_clean(&run(alknet(&["-q", "connect", &addr], home.path())));
    assert!(home.path().join(".config/alknet/known_nodes").exists());
}

#[test]
fn a_wrong_pin_names_both_keys() {
    let node = Node::start(Does::Echo);
    let (addr, other) = (
        node.addr.to_string(),
        format!("ed25519:{}", "00".repeat(32)),
    );
    let output = run(alknet(
        &["connect", &addr, "--node-key", &other],
        Path::new("/"),
    ));
    let key = node.key.to_string();
    assert_fails_with(&output, &["expected", &other, "presented", &key]);
}

#[test]
fn a_signal_ends_the_wait_for_an_answer() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    let key = format!("ed25519:{}", "00".repeat(32));
    let args = ["connect", &addr, "--node-key", &key, "--timeout", "30"];
    let child = alknet(&args, Path::new("/")).spawn().unwrap();
    // Its first packet shows that it waits.
    socket.recv(&mut [0; 2000]).unwrap();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let output = finish(child);
    assert_fails_with(&output, &[]);
    assert_eq!(text(&output.stderr), "", "not the end of its patience");
}

#[test]
fn a_port_nobody_listens_on_is_explained() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    let key = format!("ed25519:{}", "00".repeat(32));
    let args = ["connect", &addr, "--node-key", &key, "--timeout", "1"];
    let output = run(alknet(&args, Path::new("/")));
    assert_fails_with(&output, &["no answer", &addr, "within 1 s", "UDP"]);
}

#[test]
fn a_name_that_does_not_resolve_is_explained() {
    let key = format!("ed25519:{}", "00".repeat(32));
    let args = ["connect", "no-such-host.invalid", "--node-key", &key];
    assert_fails_with(
        &run(alknet(&args, Path::new("/"))),
        &["cannot resolve \"no-such-host.invalid\""],
    );
}

#[test]
fn a_node_without_the_plugin_is_explained() {
    let node = Node::start_speaking(Does::Echo, b"alknet/other");
    assert_fails_with(
        &run(pinned(&node)),
        &["does not speak alknet/ssh", "plugin"],
    );
}

#[test]
fn names_work_as_well_as_addresses() {
    let node = Node::start(Does::Greet);
    let (target, key) = (
        format!("localhost:{}", node.addr.port()),
        node.key.to_string(),
    );
    let output = run(alknet(
        &["connect", &target, "--node-key", &key],
        Path::new("/"),
    ));
    assert_clean(&output);
    assert_eq!(output.stdout, node::GREETING);
}
