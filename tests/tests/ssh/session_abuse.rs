//! Peers who ask for sessions that make no sense, or for too much: each gets
//! the proper answer, and nobody else notices.

use integration_tests::{Memory, Message, Packets, Setup, Ssh, TestNode, requires};

const SUCCESS: u8 = 99;
const FAILURE: u8 = 100;
const MEMORY_MIB: usize = 64;

fn node() -> TestNode {
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("services.shell.enabled = true");
    setup.grant(&["ssh:shell"]);
    setup.start()
}

/// A session channel; gives the node's number for it.
fn session(packets: &mut Packets) -> u32 {
    packets.send(&Message::open("session", 1)).unwrap();
    let mut opened = packets.read_one_of(&[91]).unwrap();
    assert_eq!(opened.u32(), 1);
    opened.u32()
}

/// A request on a channel, with an answer wanted.
fn request(channel: u32, kind: &str) -> Message {
    Message::new(98).u32(channel).string(kind).bytes(&[1])
}

fn pty(channel: u32, columns: u32, rows: u32, modes: &[u8]) -> Message {
    request(channel, "pty-req")
        .string("xterm")
        .u32(columns)
        .u32(rows)
        .u32(u32::MAX)
        .u32(u32::MAX)
        .string(modes)
}

fn resize(channel: u32, columns: u32, rows: u32) -> Message {
    Message::new(98)
        .u32(channel)
        .string("window-change")
        .bytes(&[0])
        .u32(columns)
        .u32(rows)
        .u32(0)
        .u32(0)
}

fn exec(channel: u32, command: &str) -> Message {
    request(channel, "exec").string(command)
}

fn succeeds(packets: &mut Packets, request: &Message) -> bool {
    packets.send(request).unwrap();
    packets.read_one_of(&[SUCCESS, FAILURE]).unwrap().kind() == SUCCESS
}

/// What comes on the channel until `end` is in it.
fn output_until(packets: &mut Packets, end: &str) -> String {
    let mut output = String::new();
    while !output.contains(end) {
        let mut data = packets.read_one_of(&[94]).unwrap();
        data.u32();
        output.push_str(&String::from_utf8(data.string()).unwrap());
    }
    output
}

#[test]
fn a_hundred_thousand_variables_cost_nothing() {
    if !requires(&["ssh"]) {
        return;
    }
    const VARIABLES: usize = 100_000;
    let node = node();
    let memory = Memory::watch(&node);
    let mut packets = Packets::login(&node, &node.setup.key);
    let channel = session(&mut packets);
    let mut sender = packets.sender();
    let sending = std::thread::spawn(move || {
        for number in 0..VARIABLES {
            let variable = request(channel, "env")
                .string(format!("LC_{number}"))
                .string("x".repeat(200));
            sender.send(&variable).unwrap();
        }
        let count = exec(channel, "env | grep -c ^LC_; echo end");
        sender.send(&count).unwrap();
        sender
    });
    let granted = (0..VARIABLES)
        .filter(|_| packets.read_one_of(&[SUCCESS, FAILURE]).unwrap().kind() == SUCCESS)
        .count();
    // The command's own answer.
    assert_eq!(
        packets.read_one_of(&[SUCCESS, FAILURE]).unwrap().kind(),
        SUCCESS
    );
    assert_eq!(Ssh::to(&node).run("echo here").out(), "here\n");
    let output = output_until(&mut packets, "end");
    assert!(output.starts_with(&format!("{granted}\n")), "{output}");
    assert!((1..1000).contains(&granted), "{granted}");
    assert!(memory.growth_mib() < MEMORY_MIB);
    drop(sending.join().unwrap());
}

#[test]
fn absurd_terminals_do_no_harm() {
    if !requires(&["stty"]) {
        return;
    }
    let node = node();
    let mut packets = Packets::login(&node, &node.setup.key);
    let channel = session(&mut packets);
    // Every mode there could be, each with a value that is none.
    let mut modes: Vec<u8> = (1..=100_u8)
        .flat_map(|mode| [mode, 0xff, 0xff, 0xff, 0xff])
        .collect();
    modes.extend([128, 0, 0, 0, 0, 129, 0xff, 0xff, 0xff, 0xff, 0]);
    assert!(succeeds(
        &mut packets,
        &pty(channel, u32::MAX, u32::MAX, &modes)
    ));
    assert!(
        !succeeds(&mut packets, &pty(channel, 80, 24, &[])),
        "a second"
    );
    let command = "stty sane -echo; stty size; read line; stty size; echo end";
    assert!(succeeds(&mut packets, &exec(channel, command)));
    let output = output_until(&mut packets, "65535 65535");
    assert!(!output.contains("end"), "{output}");
    assert!(
        !succeeds(&mut packets, &pty(channel, 80, 24, &[])),
        "too late"
    );
    for number in 0..20_000_u32 {
        let message = resize(channel, number.wrapping_mul(0x9e37_79b9), number);
        packets.send(&message).unwrap();
    }
    packets.send(&resize(channel, 132, 43)).unwrap();
    packets.send(&Message::data(channel, b"\n")).unwrap();
    let output = output_until(&mut packets, "end");
    assert!(output.contains("43 132"), "{output}");
}

#[test]
fn x11_is_refused_and_the_channel_still_serves() {
    let node = node();
    let mut packets = Packets::login(&node, &node.setup.key);
    let channel = session(&mut packets);
    let x11 = request(channel, "x11-req")
        .bytes(&[0])
        .string("MIT-MAGIC-COOKIE-1")
        .string("00")
        .u32(0);
    assert!(!succeeds(&mut packets, &x11));
    node.logged(&["request denied", "request=\"x11\""]);
    let agent = request(channel, "auth-agent-req@openssh.com");
    assert!(!succeeds(&mut packets, &agent), "an agent is not on");
    assert!(succeeds(&mut packets, &exec(channel, "echo end")));
    output_until(&mut packets, "end");
}
