//! Text of others reaches a terminal or a log line with its controls as
//! escapes.

use std::net::UdpSocket;
use std::thread;

use integration_tests::{Alknet, HANG, NODE, Run, Setup, artifacts};
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::Version;

/// Sets the title of a window, forges a line of ours and turns text around.
const HOSTILE: &str = "\x1b]0;owned\x07\r\nalknet: all is well \u{202e}\u{9b}2J";
const SHOWN: &str = r"\u{1b}]0;owned\u{7}\r\nalknet: all is well \u{202e}\u{9b}2J";

fn assert_harmless(text: &str) {
    let harmful = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
    assert_eq!(text.chars().find(harmful), None, "{text:?}");
}

/// An Initial packet (RFC 9000 section 17.2.2) that closes the connection, as
/// whoever sees the client's first one can make it (RFC 9001 section 5.2).
fn forged_close(initial: &[u8], reason: &str) -> Vec<u8> {
    let dcid_len = usize::from(initial[5]);
    let dcid = &initial[6..6 + dcid_len];
    let scid_len = usize::from(initial[6 + dcid_len]);
    let scid = &initial[7 + dcid_len..7 + dcid_len + scid_len];
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let keys = suite
        .quic_suite()
        .unwrap()
        .keys(dcid, Side::Server, Version::V1);

    // CONNECTION_CLOSE of the transport: PROTOCOL_VIOLATION, by no frame.
    let mut payload = vec![0x1c, 0x0a, 0x00];
    payload.extend((0x4000 | u16::try_from(reason.len()).unwrap()).to_be_bytes());
    payload.extend(reason.as_bytes());
    payload.resize(payload.len().max(64), 0);

    let mut packet = vec![0xc3, 0, 0, 0, 1];
    packet.push(initial[6 + dcid_len]);
    packet.extend(scid);
    packet.push(8);
    packet.extend([7; 8]);
    packet.push(0);
    let length = 4 + payload.len() + keys.local.packet.tag_len();
    packet.extend((0x4000 | u16::try_from(length).unwrap()).to_be_bytes());
    let number = packet.len();
    packet.extend([0; 4]);
    let tag = keys
        .local
        .packet
        .encrypt_in_place(0, &packet, &mut payload)
        .unwrap();
    packet.extend(payload);
    packet.extend(tag.as_ref());
    let sample = number + 4..number + 4 + keys.local.header.sample_len();
    let sample = packet[sample].to_vec();
    let (first, rest) = packet.split_at_mut(1);
    keys.local
        .header
        .encrypt_in_place(&sample, &mut first[0], &mut rest[number - 1..number + 3])
        .unwrap();
    packet
}

#[test]
fn a_forged_close_of_the_connection_writes_no_escapes() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let addr = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (length, client) = socket.recv_from(&mut buffer).unwrap();
        let close = forged_close(&buffer[..length], HOSTILE);
        socket.send_to(&close, client).unwrap();
    });
    let key = format!("ed25519:{}", "07".repeat(32));
    let ended = Run::new(&artifacts().client)
        .args(["connect", &addr.to_string(), "--node-key", &key])
        .ended();
    server.join().unwrap();
    assert_eq!(ended.code(), 255, "{ended}");
    assert_harmless(&ended.err());
    let line = ended.line_with(&["cannot connect"]);
    assert!(line.contains(SHOWN), "{line}");
    assert_eq!(ended.err().lines().count(), 1, "{ended}");
}

#[test]
fn names_of_files_write_no_escapes() {
    let setup = Setup::new();
    let root = setup.serve_root("");
    setup.grant(&["ssh:sftp"]);
    let hostile = "a\x1b[2Jb\u{202e}c\nalknet: fine";
    // What cannot be copied is named.
    Run::new("mkfifo").arg(root.join(hostile)).output();
    let node = setup.start();
    let user = Alknet::to(&node);
    let target = node.setup.folder().join("copy");
    let from = format!("{NODE}:/");
    let ended = user
        .run(&["cp", "-r", &from, target.to_str().unwrap()])
        .ended();
    assert_eq!(ended.code(), 1, "{ended}");
    assert_harmless(&ended.err());
    let line = ended.line_with(&["not a file that can be copied"]);
    assert!(
        line.contains(r"a\u{1b}[2Jb\u{202e}c\nalknet: fine"),
        "{line}"
    );
}
