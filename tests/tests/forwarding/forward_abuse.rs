//! Peers who ask for forwards that make no sense, for too many, or break the
//! rules of flow control: each gets the proper answer, and nobody else notices.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use integration_tests::target::{digests, free_port, never_reads};
use integration_tests::{
    Memory, Message, Packets, Peers, Random, Setup, Target, TestKey, TestNode, eventually, sha256,
};

/// Reason codes of RFC 4254 section 5.1.
const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;
const UNKNOWN_TYPE: u32 = 3;
const SHORTAGE: u32 = 4;

const MIB: usize = 1 << 20;
const MEMORY_MIB: usize = 64;

/// A node, somebody who may do everything, and somebody who may do nothing of
/// that and must not notice anything.
struct World {
    node: TestNode,
    stranger: TestKey,
    bystander: Bystander,
}

impl World {
    fn new(config: &str) -> Self {
        Self::with(Setup::new(), config)
    }

    fn with(setup: Setup, config: &str) -> Self {
        setup.listen_on_tcp();
        setup.ssh_config(config);
        let stranger = TestKey::make(setup.folder(), "stranger");
        let other = TestKey::make(setup.folder(), "bystander");
        let echo = Target::echo();
        let sockets = format!("ssh:streamlocal:{}/*", setup.folder().display());
        let everything = ["ssh:forward:*:*", "ssh:listen:*:*", &sockets];
        let mut peers = Peers::new();
        peers.add("owner", &setup.key, &everything);
        peers.add("stranger", &stranger, &["ssh:exec"]);
        peers.add("bystander", &other, &["ssh:forward:127.0.0.1:*"]);
        peers.write(&setup);
        let node = setup.start();
        let bystander = Bystander::start(&node, &other, echo);
        Self {
            node,
            stranger,
            bystander,
        }
    }

    fn login(&self) -> Packets {
        Packets::login(&self.node, &self.node.setup.key)
    }
}

/// A session with a forward to an echo.
struct Bystander {
    packets: Packets,
    channel: u32,
    _echo: Target,
}

impl Bystander {
    fn start(node: &TestNode, key: &TestKey, echo: Target) -> Self {
        let mut packets = Packets::login(node, key);
        let request = Message::direct_tcpip(7, "127.0.0.1", echo.port().into());
        let channel = open(&mut packets, &request).unwrap();
        Self {
            packets,
            channel,
            _echo: echo,
        }
    }

    /// Bytes go there and come back.
    fn assert_untouched(&mut self) {
        let sent = Random::new(50).bytes(10_000);
        self.packets
            .send(&Message::data(self.channel, &sent))
            .unwrap();
        let mut back = Vec::new();
        while back.len() < sent.len() {
            let mut data = self.packets.read_one_of(&[94]).unwrap();
            assert_eq!(data.u32(), 7);
            back.extend(data.string());
        }
        assert!(back == sent, "other bytes came back");
        // The window was used, and is given back.
        let adjust = Message::new(93).u32(self.channel).u32(10_000);
        self.packets.send(&adjust).unwrap();
    }
}

/// Opens a channel: the node's number for it, or the reason code.
fn open(packets: &mut Packets, request: &Message) -> Result<u32, u32> {
    packets.send(request).unwrap();
    let mut answer = packets.read_one_of(&[91, 92]).unwrap();
    let _ours = answer.u32();
    let number = answer.u32();
    if answer.kind() == 91 {
        Ok(number)
    } else {
        Err(number)
    }
}

/// A global request with an answer: whether it succeeded.
fn granted(packets: &mut Packets, request: &Message) -> bool {
    packets.send(request).unwrap();
    packets.read_one_of(&[81, 82]).unwrap().kind() == 81
}

/// An address on which no connection is ever completed.
struct Silent {
    addr: SocketAddr,
    _listener: TcpListener,
    _crowd: Vec<TcpStream>,
}

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut crowd = Vec::new();
        // Nobody accepts: at some time the backlog is full.
        while let Ok(socket) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
            crowd.push(socket);
            assert!(crowd.len() < 10_000, "the backlog has no end");
        }
        Self {
            addr,
            _listener: listener,
            _crowd: crowd,
        }
    }
}

#[test]
fn each_refusal_has_its_code() {
    let mut world = World::new("forwarding.connect_timeout_seconds = 1");
    let echo = Target::echo();
    let silent = Silent::new();
    let there = u32::from(echo.port());
    let nobody = u32::from(free_port());
    let long = "a".repeat(10_000);
    let label = format!("{}.example", "a".repeat(64));
    let cases: &[(&str, &str, u32)] = &[
        ("port 0", "127.0.0.1", 0),
        ("port 65536", "127.0.0.1", 65_536),
        ("port 70000", "127.0.0.1", 70_000),
        ("the echo's port and 65536", "127.0.0.1", there + 65_536),
        ("the highest port", "127.0.0.1", u32::MAX),
        ("no name", "", there),
        ("a name with NUL", "127.0.0.1\0.example", there),
        ("a name with a newline", "local\nhost", there),
        ("a name of 10 kB", &long, there),
        ("a long label", &label, there),
        ("a name that nobody has", "no-such-host.invalid", there),
        ("a port nobody listens on", "127.0.0.1", nobody),
        ("a silent target", "127.0.0.1", silent.addr.port().into()),
    ];
    let mut packets = world.login();
    let mut stranger = Packets::login(&world.node, &world.stranger);
    for (what, host, port) in cases {
        let request = Message::direct_tcpip(1, host, *port);
        assert_eq!(open(&mut packets, &request), Err(CONNECT_FAILED), "{what}");
        // Who may not connect is not told what there is.
        let refused = open(&mut stranger, &request).unwrap_err();
        assert!([PROHIBITED, CONNECT_FAILED].contains(&refused), "{what}");
    }
    for port in [there, nobody] {
        let request = Message::direct_tcpip(1, "127.0.0.1", port);
        assert_eq!(open(&mut stranger, &request), Err(PROHIBITED));
    }
    // One that only the node may open.
    let request = Message::open("forwarded-tcpip", 1)
        .string("127.0.0.1")
        .u32(1)
        .string("127.0.0.1")
        .u32(1);
    let refused = open(&mut packets, &request).unwrap_err();
    assert!([PROHIBITED, UNKNOWN_TYPE].contains(&refused), "{refused}");
    // The same connection serves on.
    let request = Message::direct_tcpip(1, "127.0.0.1", there);
    assert_eq!(open(&mut packets, &request).err(), None);
    // The channel opens when the system has connected, maybe before the echo
    // has heard of it.
    eventually("the connection", || (echo.accepted() == 1).then_some(()));
    world.bystander.assert_untouched();
    // A name that is no text at all: russh ends the connection over it.
    let request = Message::direct_tcpip(1, b"\xff\xfe.example", there);
    packets.send(&request).unwrap();
    let answer = packets.read_one_of(&[92]).map(|answer| answer.kind());
    println!("a name that is not UTF-8: {answer:?}");
    assert_eq!(echo.accepted(), 1);
    world.bystander.assert_untouched();
}

/// A known limit: russh refuses a channel of a type that it does not know, and
/// then once more. OpenSSH takes the second refusal for a fault and hangs up;
/// of its options only `-w` opens such a channel. This test fails on the day
/// that is mended.
#[test]
fn a_channel_of_an_unknown_type_is_refused_twice() {
    let mut world = World::new("");
    let mut packets = world.login();
    let echo = Target::echo();
    packets
        .send(&Message::open("example@example.org", 1))
        .unwrap();
    let request = Message::direct_tcpip(2, "127.0.0.1", echo.port().into());
    packets.send(&request).unwrap();
    let mut refusals = Vec::new();
    loop {
        let mut answer = packets.read_one_of(&[91, 92]).unwrap();
        if answer.kind() == 91 {
            assert_eq!(answer.u32(), 2);
            break;
        }
        assert_eq!(answer.u32(), 1);
        refusals.push(answer.u32());
    }
    assert_eq!(refusals[0], UNKNOWN_TYPE);
    assert_eq!(
        refusals.len(),
        2,
        "this limit is gone: say so in known-limits.md"
    );
    world.bystander.assert_untouched();
}

#[test]
fn listeners_that_cannot_be_are_refused() {
    let mut world = World::new("");
    let mut packets = world.login();
    let port = u32::from(free_port());
    let long = "1".repeat(10_000);
    for (what, address, port) in [
        ("an address of others", "192.0.2.99", port),
        ("a name of others", "example.org", port),
        ("an address with NUL", "127.0.0.1\0", port),
        ("an address of 10 kB", &long, port),
        ("a privileged port", "127.0.0.1", 80),
        ("the last privileged port", "localhost", 1023),
        ("port 65536", "127.0.0.1", 65_536),
        ("port 70000", "127.0.0.1", 70_000),
        ("the highest port", "127.0.0.1", u32::MAX),
    ] {
        let request = Message::tcpip_forward(address, port);
        assert!(!granted(&mut packets, &request), "{what}");
    }
    let keeper = TcpListener::bind("127.0.0.1:0").unwrap();
    let kept = u32::from(keeper.local_addr().unwrap().port());
    assert!(!granted(
        &mut packets,
        &Message::tcpip_forward("127.0.0.1", kept)
    ));
    let twice = Message::tcpip_forward("127.0.0.1", port);
    assert!(granted(&mut packets, &twice));
    assert!(!granted(&mut packets, &twice), "the same twice");
    let cancel = |port: u32| {
        Message::global("cancel-tcpip-forward")
            .string("127.0.0.1")
            .u32(port)
    };
    assert!(!granted(&mut packets, &cancel(kept)), "not ours");
    assert!(granted(&mut packets, &cancel(port)));
    assert!(!granted(&mut packets, &cancel(port)), "cancelled already");
    assert!(granted(&mut packets, &twice), "free again");
    // So many and no more.
    let any = Message::tcpip_forward("127.0.0.1", 0);
    let more = (0..200).filter(|_| granted(&mut packets, &any)).count();
    assert_eq!(more, 127);
    world.bystander.assert_untouched();
}

#[test]
fn socket_paths_that_cannot_be_are_refused() {
    let setup = Setup::new();
    let folder = setup.folder().to_owned();
    let in_folder = |name: &str| folder.join(name).display().to_string();
    fs::write(in_folder("file"), "precious").unwrap();
    fs::create_dir(in_folder("dir")).unwrap();
    std::os::unix::fs::symlink(in_folder("nowhere"), in_folder("link")).unwrap();
    let _other = UnixListener::bind(in_folder("other.sock")).unwrap();
    let mut world = World::with(setup, "");
    let mut packets = world.login();
    let long = in_folder(&"l".repeat(120));
    let paths = [
        ("nothing", String::new()),
        ("a relative path", "relative.sock".to_owned()),
        ("a way out", in_folder("../out.sock")),
        ("a way round", in_folder("dir/../in.sock")),
        ("two slashes", in_folder("/two.sock")),
        ("a NUL", in_folder("a\0b")),
        ("too long", long),
        ("10 kB", in_folder(&"l".repeat(10_000))),
        ("an abstract name", "\0abstract".to_owned()),
    ];
    for (what, path) in &paths {
        let request = Message::streamlocal_forward(path);
        assert!(!granted(&mut packets, &request), "{what}");
        let refused = open(&mut packets, &Message::direct_streamlocal(1, path)).unwrap_err();
        assert!(
            [PROHIBITED, CONNECT_FAILED].contains(&refused),
            "{what}: {refused}"
        );
    }
    for (what, name) in [
        ("a file that exists", "file"),
        ("a socket that exists", "other.sock"),
        ("a directory", "dir"),
        ("a link to nowhere", "link"),
    ] {
        let request = Message::streamlocal_forward(in_folder(name));
        assert!(!granted(&mut packets, &request), "{what}");
    }
    for name in ["file", "dir", "link", "missing.sock"] {
        let request = Message::direct_streamlocal(1, in_folder(name));
        assert_eq!(open(&mut packets, &request), Err(CONNECT_FAILED), "{name}");
    }
    assert_eq!(fs::read_to_string(in_folder("file")).unwrap(), "precious");
    assert!(!folder.join("nowhere").exists());
    assert!(
        open(
            &mut packets,
            &Message::direct_streamlocal(1, in_folder("other.sock"))
        )
        .is_ok()
    );
    // Outside the directory it is a question of permission.
    let request = Message::direct_streamlocal(1, "/run/other.sock");
    assert_eq!(open(&mut packets, &request), Err(PROHIBITED));
    let mine = Message::streamlocal_forward(in_folder("mine.sock"));
    assert!(granted(&mut packets, &mine));
    assert!(!granted(&mut packets, &mine), "the same twice");
    drop(packets);
    eventually("the socket is removed", || {
        (!folder.join("mine.sock").exists()).then_some(())
    });
    assert!(folder.join("other.sock").exists());
    world.bystander.assert_untouched();
}

#[test]
fn ten_thousand_channels_are_answered_and_cost_little() {
    const OPENS: u32 = 10_000;
    let mut world = World::new("forwarding.connect_timeout_seconds = 5");
    let silent = Silent::new();
    let echo = Target::echo();
    for (what, port) in [
        ("an echo", echo.port()),
        ("a silent target", silent.addr.port()),
    ] {
        let mut packets = world.login();
        let memory = Memory::watch(&world.node);
        let mut sender = packets.sender();
        let sending = std::thread::spawn(move || {
            for channel in 0..OPENS {
                let request = Message::direct_tcpip(channel, "127.0.0.1", port.into());
                sender.send(&request).unwrap();
            }
            sender
        });
        let (mut opened, mut short, mut failed) = (0, 0, 0);
        for number in 0..OPENS {
            let mut answer = packets.read_one_of(&[91, 92]).unwrap();
            let _ours = answer.u32();
            let code = answer.u32();
            match (answer.kind(), code) {
                (91, _) => opened += 1,
                (_, SHORTAGE) => short += 1,
                (_, CONNECT_FAILED) => failed += 1,
                (_, code) => panic!("code {code}"),
            }
            if number % 1000 == 0 {
                world.bystander.assert_untouched();
            }
        }
        println!(
            "10,000 channels to {what}: {opened} opened, {short} refused for want of room, {failed} not connected; the node grew by {} MiB",
            memory.growth_mib()
        );
        let limit = 128;
        assert!(
            opened <= limit && opened + failed >= limit,
            "{opened} {failed}"
        );
        assert!(memory.growth_mib() < MEMORY_MIB);
        world.bystander.assert_untouched();
        drop(sending.join().unwrap());
    }
    // The next comer is served.
    let mut packets = world.login();
    let request = Message::direct_tcpip(1, "127.0.0.1", echo.port().into());
    assert!(open(&mut packets, &request).is_ok());
}

#[test]
fn a_peer_that_overruns_its_window_costs_nobody_anything() {
    let mut world = World::new("limits.stalled_channel_seconds = 3");
    let sink = Target::tcp("127.0.0.1:0", never_reads);
    let mut packets = world.login();
    let request = |channel| Message::direct_tcpip(channel, "127.0.0.1", sink.port().into());
    let channel = open(&mut packets, &request(1)).unwrap();
    let _idle = open(&mut packets, &request(2)).unwrap();
    let memory = Memory::watch(&world.node);
    let mut sender = packets.sender();
    let flooding = std::thread::spawn(move || {
        let chunk = Random::new(51).bytes(32 << 10);
        let mut sent = 0;
        while sent < 256 * MIB {
            if let Err(error) = sender.send(&Message::data(channel, &chunk)) {
                return (sent, Some(error));
            }
            sent += chunk.len();
        }
        (sent, None)
    });
    while !flooding.is_finished() {
        world.bystander.assert_untouched();
        std::thread::sleep(Duration::from_millis(10));
    }
    let (sent, error) = flooding.join().unwrap();
    println!(
        "a peer that overruns its window: {sent} bytes, then {error:?}; the node grew by {} MiB",
        memory.growth_mib()
    );
    assert!(memory.growth_mib() < MEMORY_MIB);
    world.bystander.assert_untouched();
    let lost = loop {
        match packets.read() {
            Ok(message) if [1, 97].contains(&message.kind()) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    assert!(lost, "it keeps its channel and its connection");
}

#[test]
fn data_after_the_end_reaches_nobody() {
    let mut world = World::new("");
    let sums = Target::tcp("127.0.0.1:0", digests);
    let mut packets = world.login();
    let request = Message::direct_tcpip(1, "127.0.0.1", sums.port().into());
    let channel = open(&mut packets, &request).unwrap();
    let first = Random::new(52).bytes(20_000);
    packets.send(&Message::data(channel, &first)).unwrap();
    packets.send(&Message::new(96).u32(channel)).unwrap();
    for _ in 0..100 {
        // The node may hang up on such a peer.
        let _ = packets.send(&Message::data(channel, &first));
    }
    let mut answer = Vec::new();
    while let Ok(mut message) = packets.read() {
        match message.kind() {
            94 => {
                assert_eq!(message.u32(), 1);
                answer.extend(message.string());
            }
            96 | 97 | 1 => break,
            _ => {}
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.is_empty() || answer == format!("20000 {}\n", sha256(&first)),
        "{answer}"
    );
    println!("data after the end: the target answered {answer:?}");
    world.bystander.assert_untouched();
}

#[test]
fn messages_for_channels_that_are_not_there_do_no_harm() {
    let mut world = World::new("");
    let memory = Memory::watch(&world.node);
    for message in [
        Message::data(999, b"x"),
        Message::new(93).u32(999).u32(u32::MAX),
        Message::new(96).u32(999),
        Message::new(97).u32(999),
        Message::new(98)
            .u32(999)
            .string("exec")
            .bytes(&[1])
            .string("true"),
        Message::new(91).u32(999).u32(1).u32(1).u32(1),
        Message::new(92).u32(999).u32(1).string("").string(""),
    ] {
        let mut packets = world.login();
        for _ in 0..1000 {
            if packets.send(&message).is_err() {
                break;
            }
        }
        world.bystander.assert_untouched();
    }
    // A window as large as can be, and then some more.
    let echo = Target::echo();
    let mut packets = world.login();
    let request = Message::direct_tcpip(1, "127.0.0.1", echo.port().into());
    let channel = open(&mut packets, &request).unwrap();
    for _ in 0..10 {
        let _ = packets.send(&Message::new(93).u32(channel).u32(u32::MAX));
    }
    let _ = packets.send(&Message::data(channel, b"still there?"));
    while let Ok(mut message) = packets.read() {
        if message.kind() == 94 {
            assert_eq!(
                (message.u32(), message.string()),
                (1, b"still there?".to_vec())
            );
            break;
        }
    }
    world.bystander.assert_untouched();
    assert!(memory.growth_mib() < MEMORY_MIB);
}
