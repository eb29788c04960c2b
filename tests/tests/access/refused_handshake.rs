//! A client that has no algorithm in common with the node gets to know what
//! the node offers: it alone can tell its user.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use integration_tests::{HANG, Setup, Ssh, TestNode, Transport, artifacts, requires};

/// Races between the answer and the end do not show every time.
const ROUNDS: usize = 20;

fn node() -> TestNode {
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("transport = { require_post_quantum = true }");
    setup.start()
}

/// A version line and a SSH_MSG_KEXINIT (RFC 4253 section 7.1) in one piece.
fn greeting() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for name in [
        "none-of-yours",
        "none",
        "none",
        "none",
        "none",
        "none",
        "none",
        "none",
        "",
        "",
    ] {
        payload.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        payload.extend(name.as_bytes());
    }
    payload.extend([0; 5]);
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    let mut bytes = b"SSH-2.0-nothing_in_common\r\n".to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.push(u8::try_from(padding).unwrap());
    bytes.extend(payload);
    bytes.extend(vec![0; padding]);
    bytes
}

fn answer(node: &TestNode, transport: Transport) -> Vec<u8> {
    let mut answer = Vec::new();
    match transport {
        Transport::Tcp => {
            let mut socket = TcpStream::connect(node.tcp.unwrap()).unwrap();
            socket.set_read_timeout(Some(HANG)).unwrap();
            socket.write_all(&greeting()).unwrap();
            // More that nobody will read.
            let _ = socket.write_all(&[0; 4096]);
            let _ = socket.shutdown(Shutdown::Write);
            socket.read_to_end(&mut answer).unwrap();
        }
        Transport::Quic => {
            let target = node.addr.to_string();
            let mut client = Command::new(&artifacts().client)
                .args(["connect", &target, "--node-key", &node.node_key.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut input = client.stdin.take().unwrap();
            input.write_all(&greeting()).unwrap();
            client
                .stdout
                .take()
                .unwrap()
                .read_to_end(&mut answer)
                .unwrap();
            drop(input);
            client.wait().unwrap();
        }
    }
    answer
}

#[test]
fn the_offer_arrives_before_the_end() {
    let node = node();
    for transport in Transport::ALL {
        for round in 0..ROUNDS {
            let answer = answer(&node, transport);
            let text = String::from_utf8_lossy(&answer);
            assert!(
                text.contains("mlkem768x25519-sha256"),
                "{transport:?}, round {round}: {text:?}"
            );
        }
    }
}

#[test]
fn stock_ssh_names_what_is_offered() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = node();
    let key = &node.setup.key;
    for transport in Transport::ALL {
        let ssh = Ssh::over(transport, &node, key);
        ssh.configure("KexAlgorithms ecdh-sha2-nistp521");
        for _ in 0..ROUNDS / 4 {
            let ended = ssh.run("true");
            assert_eq!(ended.code(), 255, "{ended}");
            assert!(
                ended
                    .err()
                    .contains("no matching key exchange method found"),
                "{ended}"
            );
            assert!(ended.err().contains("mlkem768x25519-sha256"), "{ended}");
        }
    }
}
