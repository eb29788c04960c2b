//! Forwarding through stock OpenSSH, over QUIC and over TCP.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use integration_tests::target::{
    Socket, answers, connect, connect_unix, digests, drain, echo, exchange, free_port,
    gives_then_hears,
};
use integration_tests::{
    Background, HANG, Peers, Random, Run, Setup, Ssh, Sshd, Target, TestKey, TestNode, Transport,
    eventually, requires, sha256,
};

const MIB: usize = 1 << 20;

/// A node on both transports whose owner has these scopes.
fn node(scopes: &[&str]) -> Option<TestNode> {
    requires(&["ssh"]).then(|| {
        let setup = Setup::new();
        setup.listen_on_tcp();
        setup.grant(scopes);
        setup.start()
    })
}

fn ways(node: &TestNode) -> [(Transport, Ssh); 2] {
    Transport::ALL.map(|transport| (transport, Ssh::over(transport, node, &node.setup.key)))
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

// --- what is served, and to whom

/// What is there to be reached.
struct World {
    folder: PathBuf,
    echo: Target,
    echo6: Target,
    http: Target,
    /// A port for a listener.
    port: u16,
}

impl World {
    fn new(folder: &Path) -> Self {
        Target::unix(&folder.join("echo.sock"), echo);
        Self {
            folder: folder.to_owned(),
            echo: Target::echo(),
            echo6: Target::tcp("[::1]:0", echo),
            http: Target::tcp("127.0.0.1:0", hello),
            port: free_port(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// One way to use a forward.
struct Case {
    name: &'static str,
    /// The one scope it takes.
    scope: fn(&World) -> String,
    /// `Err` with what ssh said when it is refused.
    attempt: fn(&World, &Ssh) -> Result<(), String>,
}

const CASES: &[Case] = &[
    Case {
        name: "local-ipv4",
        scope: |world| format!("ssh:forward:127.0.0.1:{}", world.echo.port()),
        attempt: |world, ssh| local(ssh, &format!("127.0.0.1:{}", world.echo.port())),
    },
    Case {
        name: "local-ipv6",
        scope: |world| format!("ssh:forward:[::1]:{}", world.echo6.port()),
        attempt: |world, ssh| local(ssh, &format!("[::1]:{}", world.echo6.port())),
    },
    Case {
        name: "local-name",
        scope: |world| format!("ssh:forward:localhost:{}", world.echo.port()),
        attempt: |world, ssh| local(ssh, &format!("localhost:{}", world.echo.port())),
    },
    Case {
        name: "local-socket",
        scope: |world| format!("ssh:streamlocal:{}", world.path("echo.sock")),
        attempt: |world, ssh| local(ssh, &world.path("echo.sock")),
    },
    Case {
        name: "dynamic",
        scope: |world| format!("ssh:forward:localhost:{}", world.http.port()),
        attempt: dynamic,
    },
    Case {
        name: "stdio",
        scope: |world| format!("ssh:forward:127.0.0.1:{}", world.echo.port()),
        attempt: |world, ssh| {
            let target = format!("127.0.0.1:{}", world.echo.port());
            let bytes = Random::new(2).bytes(MIB);
            let ended = ssh
                .program("ssh")
                .args(["-W", &target, "node"])
                .stdin(bytes.clone())
                .ended();
            if sha256(&ended.stdout) == sha256(&bytes) {
                return Ok(());
            }
            Err(ended.err())
        },
    },
    Case {
        name: "remote-fixed",
        scope: |world| format!("ssh:listen:127.0.0.1:{}", world.port),
        attempt: |world, ssh| {
            let here = format!("127.0.0.1:{0}:127.0.0.1:{1}", world.port, world.echo.port());
            let tunnel = ssh.tunnel(&["-R", &here]).map_err(|ended| ended.err())?;
            assert!(answers(v4(world.port)), "{}", tunnel.err());
            tunnel.terminate();
            eventually("the listener ends with its session", || {
                connect(v4(world.port)).is_err().then_some(())
            });
            Ok(())
        },
    },
    Case {
        name: "remote-any",
        scope: |_| "ssh:listen:localhost:*".to_owned(),
        attempt: |world, ssh| {
            let here = format!("localhost:0:127.0.0.1:{}", world.echo.port());
            let tunnel = ssh.tunnel(&["-R", &here]).map_err(|ended| ended.err())?;
            let port = allocated(&tunnel.line_with(&["Allocated port"]));
            assert!(answers(v4(port)), "{}", tunnel.err());
            assert!(
                answers((Ipv6Addr::LOCALHOST, port).into()),
                "{}",
                tunnel.err()
            );
            Ok(())
        },
    },
    Case {
        name: "remote-socket",
        scope: |world| format!("ssh:streamlocal:{}", world.path("remote.sock")),
        attempt: |world, ssh| {
            let path = world.path("remote.sock");
            let here = format!("{path}:127.0.0.1:{}", world.echo.port());
            let tunnel = ssh.tunnel(&["-R", &here]).map_err(|ended| ended.err())?;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "others could use the socket");
            let socket = connect_unix(Path::new(&path)).unwrap();
            assert_eq!(exchange(socket, 4, MIB), Ok(()), "{}", tunnel.err());
            tunnel.terminate();
            eventually("the socket is removed", || {
                (!Path::new(&path).exists()).then_some(())
            });
            Ok(())
        },
    },
];

#[test]
fn each_way_is_refused_by_default_and_served_by_its_scope() {
    if !requires(&["ssh", "curl"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let world = World::new(setup.folder());
    let mut peers = Peers::new();
    // May run commands, and nothing else.
    peers.add("owner", &setup.key, &["ssh:exec"]);
    let keys: Vec<_> = CASES
        .iter()
        .map(|case| {
            let key = TestKey::make(setup.folder(), case.name);
            peers.add(case.name, &key, &[&(case.scope)(&world)]);
            key
        })
        .collect();
    peers.write(&setup);
    let node = setup.start();
    for transport in Transport::ALL {
        let stranger = Ssh::over(transport, &node, &node.setup.key);
        for (case, key) in CASES.iter().zip(&keys) {
            let name = case.name;
            let refused = (case.attempt)(&world, &stranger);
            let said = refused.expect_err(&format!("{name} over {transport:?} by default"));
            assert!(
                said.contains("administratively prohibited")
                    || said.contains("remote port forwarding failed"),
                "{name} over {transport:?}: {said}"
            );
            let ssh = Ssh::over(transport, &node, key);
            (case.attempt)(&world, &ssh)
                .unwrap_or_else(|said| panic!("{name} over {transport:?}: {said}"));
            // That scope, and no other service.
            let ended = ssh.run("echo in");
            assert_ne!(ended.code(), 0, "{name} over {transport:?}: {ended}");
            assert!(!ended.out().contains("in\n"), "{ended}");
        }
        assert_eq!(stranger.run("echo in").out(), "in\n");
    }
}

/// `-L` of a port of this machine to `target`.
fn local(ssh: &Ssh, target: &str) -> Result<(), String> {
    let port = free_port();
    let mut tunnel = ssh
        .tunnel(&["-L", &format!("127.0.0.1:{port}:{target}")])
        .unwrap_or_else(|ended| panic!("{ended}"));
    if exchange(connect(v4(port)).unwrap(), 3, MIB).is_ok() {
        return Ok(());
    }
    tunnel.says(&["open failed"]);
    Err(tunnel.err())
}

fn dynamic(world: &World, ssh: &Ssh) -> Result<(), String> {
    let port = free_port();
    let mut tunnel = ssh
        .tunnel(&["-D", &format!("127.0.0.1:{port}")])
        .unwrap_or_else(|ended| panic!("{ended}"));
    let ended = Run::new("curl")
        .args(["-sS", "--max-time", "60", "--socks5-hostname"])
        .arg(format!("127.0.0.1:{port}"))
        .arg(format!("http://localhost:{}/", world.http.port()))
        .ended();
    if ended.status.success() && ended.out() == "hello\n" {
        return Ok(());
    }
    tunnel.says(&["open failed"]);
    Err(tunnel.err())
}

/// Says hello to a web client.
fn hello(mut socket: Socket) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match socket.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let _ = socket.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
    socket.finish();
}

/// The port in ssh's words about one that it did not choose.
fn allocated(line: &str) -> u16 {
    let (_, rest) = line.split_once("Allocated port ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

// --- through the node to another server

#[test]
fn the_node_is_a_jump_host_for_a_stock_sshd() {
    if !requires(&["ssh", "sshd"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let key = TestKey::make(setup.folder(), "behind");
    let sshd = Sshd::start(setup.folder(), &key.public_line(), "");
    setup.grant(&[&format!("ssh:forward:{}", sshd.addr)]);
    let (ip, port) = (sshd.addr.ip(), sshd.addr.port());
    let known = setup.folder().join("known_behind");
    fs::write(&known, format!("[{ip}]:{port} {}\n", sshd.host_key)).unwrap();
    let digest = Random::new(6).file(&setup.folder().join("bulk"), 20 * MIB);
    let node = setup.start();
    for (transport, ssh) in ways(&node) {
        ssh.configure(&format!(
            "Host behind\n    HostName {ip}\n    Port {port}\n    IdentityFile {}\n    \
             IdentitiesOnly yes\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n",
            key.file.display(),
            known.display()
        ));
        let ended = ssh
            .program("ssh")
            .args(["-J", "node", "behind", "sha256sum; exit 5"])
            .stdin_file(&node.setup.folder().join("bulk"))
            .ended();
        assert_eq!(ended.code(), 5, "{transport:?}: {ended}");
        assert!(ended.out().starts_with(&digest), "{transport:?}: {ended}");
    }
}

// --- listeners come and go

#[test]
fn a_shared_connection_adds_and_cancels_listeners() {
    let Some(node) = node(&["ssh:listen:127.0.0.1:*"]) else {
        return;
    };
    let echo = Target::echo();
    for (transport, ssh) in ways(&node) {
        let master = Master::start(&ssh, node.setup.folder().join(format!("m{transport:?}")));
        let there = format!("127.0.0.1:0:127.0.0.1:{}", echo.port());
        // ssh prints the port that the node chose.
        let ended = master.control(&["-O", "forward", "-R", &there]).ended();
        assert_eq!(ended.code(), 0, "{transport:?}: {ended}");
        let port: u16 = ended.out().trim().parse().unwrap();
        // ssh asks only once for what looks the same.
        let other = format!("127.0.0.1:0:localhost:{}", echo.port());
        let second = master.control(&["-O", "forward", "-R", &other]).output();
        let second: u16 = second.trim().parse().unwrap();
        assert_ne!(port, second);
        assert!(answers(v4(port)) && answers(v4(second)), "{transport:?}");

        // A connection that is there stays when its listener goes.
        let mut open = connect(v4(port)).unwrap();
        ping(&mut open);
        let ended = master.control(&["-O", "cancel", "-R", &there]).ended();
        assert_eq!(ended.code(), 0, "{transport:?}: {ended}");
        eventually("a cancelled listener is gone", || {
            connect(v4(port)).is_err().then_some(())
        });
        ping(&mut open);
        assert!(answers(v4(second)), "{transport:?}");
        let ended = master.run("echo on");
        assert_eq!(ended.out(), "on\n", "{transport:?}: {ended}");
        master.exit();
        eventually("the other listener ends with the connection", || {
            connect(v4(second)).is_err().then_some(())
        });
    }
}

fn ping(socket: &mut Socket) {
    socket.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

#[test]
fn no_scope_reaches_the_sockets_of_the_node_itself() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.grant(&["ssh:streamlocal:/**"]);
    let node = setup.start();
    let admin = node.setup.state().join("admin.sock");
    assert!(admin.exists());
    let ssh = Ssh::to(&node);
    let there = format!("127.0.0.1:{}:{}", free_port(), admin.display());
    let port: u16 = there.split(':').nth(1).unwrap().parse().unwrap();
    let tunnel = ssh
        .tunnel(&["-L", &there])
        .unwrap_or_else(|ended| panic!("{ended}"));
    let mut stream = std::net::TcpStream::connect(v4(port)).unwrap();
    let _ = stream.write_all(b"{}\n");
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert_eq!(said, b"", "the admin socket answered");
    node.logged(&["request denied", "streamlocal", "node's own"]);
    drop(tunnel);
}

#[test]
fn what_a_killed_client_listened_on_is_free_again() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let path = setup.folder().join("killed.sock");
    let socket = format!("ssh:streamlocal:{}", path.display());
    setup.grant(&["ssh:listen:*:*", &socket]);
    let node = setup.start();
    let echo = Target::echo();
    for (transport, ssh) in ways(&node) {
        let port = free_port();
        let tcp = format!("*:{port}:127.0.0.1:{}", echo.port());
        let unix = format!("{}:127.0.0.1:{}", path.display(), echo.port());
        let tunnel = ssh
            .tunnel(&["-R", &tcp, "-R", &unix])
            .unwrap_or_else(|ended| panic!("{transport:?}: {ended}"));
        assert!(answers(v4(port)) && path.exists());
        // SIGKILL: it says no goodbye.
        drop(tunnel);
        eventually("the listeners of a killed client are gone", || {
            (TcpListener::bind(("0.0.0.0", port)).is_ok() && !path.exists()).then_some(())
        });
    }
}

// --- many at once, new keys, one-way ends

/// A connection that several calls of ssh share.
struct Master<'a> {
    ssh: &'a Ssh,
    socket: PathBuf,
    running: Background,
}

impl<'a> Master<'a> {
    fn start(ssh: &'a Ssh, socket: PathBuf) -> Self {
        let run = ssh.program("ssh").args(["-M", "-N", "-S"]).arg(&socket);
        let running = Background::spawn(run.arg("node"));
        let master = Self {
            ssh,
            socket,
            running,
        };
        eventually("the master serves", || {
            (master.control(&["-O", "check"]).ended().code() == 0).then_some(())
        });
        master
    }

    fn control(&self, args: &[&str]) -> Run {
        let run = self.ssh.program("ssh").arg("-S").arg(&self.socket);
        run.args(args).arg("node")
    }

    fn command(&self, command: &str) -> Run {
        self.control(&[]).arg(command)
    }

    fn run(&self, command: &str) -> integration_tests::Ended {
        self.command(command).ended()
    }

    fn exit(self) {
        assert_eq!(self.control(&["-O", "exit"]).ended().code(), 0);
        self.running.ended();
    }
}

#[test]
fn fifty_commands_share_one_connection() {
    let Some(node) = node(&[]) else { return };
    for (transport, ssh) in ways(&node) {
        let master = Master::start(&ssh, node.setup.folder().join(format!("m{transport:?}")));
        let runs: Vec<_> = (0..50_u8)
            .map(|number| {
                let bytes = Random::new(number.into()).bytes(200_000);
                let command = format!("sha256sum; exit {number}");
                let run = master.command(&command).stdin(bytes.clone()).spawn();
                (number, sha256(&bytes), run)
            })
            .collect();
        for (number, digest, run) in runs {
            let ended = run.ended();
            assert_eq!(ended.code(), i32::from(number), "{transport:?}: {ended}");
            assert!(ended.out().starts_with(&digest), "{transport:?}: {ended}");
        }
        master.exit();
    }
}

#[test]
fn new_keys_in_the_middle_lose_nothing() {
    if !requires(&["ssh"]) {
        return;
    }
    for (by, config, option) in [
        ("the client", "", "RekeyLimit=1M"),
        (
            "the node",
            "transport.rekey_bytes = 1048576",
            "RekeyLimit=default none",
        ),
    ] {
        let setup = Setup::new();
        setup.listen_on_tcp();
        let echo = Target::echo();
        setup.grant(&[&format!("ssh:forward:127.0.0.1:{}", echo.port())]);
        setup.ssh_config(config);
        let node = setup.start();
        for (transport, ssh) in ways(&node) {
            let port = free_port();
            let forward = format!("127.0.0.1:{port}:127.0.0.1:{}", echo.port());
            let tunnel = ssh
                .tunnel(&["-o", option, "-L", &forward])
                .unwrap_or_else(|ended| panic!("{ended}"));
            let outcome = exchange(connect(v4(port)).unwrap(), 8, 64 * MIB);
            let times = tunnel.err().matches("SSH2_MSG_NEWKEYS received").count();
            println!("new keys by {by} over {transport:?}: {times} times");
            assert_eq!(outcome, Ok(()), "by {by} over {transport:?}");
            assert!(times > 20, "{times} times by {by} over {transport:?}");
        }
    }
}

#[test]
fn either_side_can_end_and_go_on_listening() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let folder = setup.folder().to_owned();
    let (heard, hears) = channel();
    let digest = Target::tcp("127.0.0.1:0", digests);
    let giver = Target::tcp("127.0.0.1:0", gives_then_hears(20, MIB, heard.clone()));
    Target::unix(&folder.join("digest"), digests);
    Target::unix(&folder.join("giver"), gives_then_hears(20, MIB, heard));
    setup.grant(&[
        "ssh:forward:127.0.0.1:*",
        "ssh:listen:127.0.0.1:*",
        &format!("ssh:streamlocal:{}/*", folder.display()),
    ]);
    let node = setup.start();
    for (transport, ssh) in ways(&node) {
        let ports: Vec<_> = (0..6).map(|_| free_port()).collect();
        let to = |port: u16, target: &str| format!("127.0.0.1:{port}:{target}");
        let digest_tcp = digest.addr.to_string();
        let giver_tcp = giver.addr.to_string();
        let digest_unix = folder.join("digest").display().to_string();
        let giver_unix = folder.join("giver").display().to_string();
        let tunnel = ssh
            .tunnel(&[
                "-L",
                &to(ports[0], &digest_tcp),
                "-L",
                &to(ports[1], &giver_tcp),
                "-L",
                &to(ports[2], &digest_unix),
                "-L",
                &to(ports[3], &giver_unix),
                "-R",
                &to(ports[4], &digest_tcp),
                "-R",
                &to(ports[5], &giver_tcp),
            ])
            .unwrap_or_else(|ended| panic!("{transport:?}: {ended}"));
        for (number, port) in ports.into_iter().enumerate() {
            let which = format!("{transport:?} {number}: {}", tunnel.err());
            let ours = Random::new(21).bytes(MIB);
            let mut socket = connect(v4(port)).unwrap();
            if number % 2 == 0 {
                // We end; the target then answers.
                socket.write_all(&ours).unwrap();
                socket.finish();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, format!("{MIB} {}\n", sha256(&ours)), "{which}");
            } else {
                // The target ends; we then answer.
                let (length, digest) = drain(&mut socket);
                let theirs = sha256(&Random::new(20).bytes(MIB));
                assert_eq!((length, digest), (MIB, theirs), "{which}");
                socket.write_all(&ours).unwrap();
                socket.finish();
                let heard = hears.recv_timeout(HANG).expect(&which);
                assert_eq!(heard, (MIB, sha256(&ours)), "{which}");
            }
        }
    }
}
