//! What a change of the peers or of the rules takes away from those who are
//! connected, and what it leaves alone.
//!
//! The design says that it is gone within a second. The times are printed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration_tests::target::{Socket, answers, connect, free_port};
use integration_tests::{
    Background, Peers, Random, Reached, Setup, Ssh, Target, TestKey, TestNode, Transport, alive,
    eventually, requires, rules,
};
use rustix::process::Signal;

const SCOPES: [&str; 4] = [
    "ssh:exec",
    "ssh:forward:127.0.0.1:*",
    "ssh:listen:127.0.0.1:*",
    "ssh:streamlocal:",
];

/// A node with two peers, `alice` and `bob`, who may do everything.
struct World {
    node: TestNode,
    peers: Peers,
    alice: TestKey,
    bob: TestKey,
    echo: Target,
}

impl World {
    fn new() -> Option<Self> {
        requires(&["ssh"]).then(|| {
            let setup = Setup::new();
            setup.listen_on_tcp();
            setup.ssh_config("forwarding.rules = []");
            let alice = TestKey::make(setup.folder(), "alice");
            let bob = TestKey::make(setup.folder(), "bob");
            let scopes = scopes(&setup, &[]);
            let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
            let mut peers = Peers::new();
            peers.add("alice", &alice, &scopes);
            peers.add("bob", &bob, &scopes);
            peers.write(&setup);
            Self {
                node: setup.start(),
                peers,
                alice,
                bob,
                echo: Target::echo(),
            }
        })
    }

    /// Everything that `key` can hold open, over `transport`.
    fn hold(&self, key: &TestKey, transport: Transport) -> Held {
        let ssh = Ssh::over(transport, &self.node, key);
        let name = key.file.file_name().unwrap().to_str().unwrap();
        let folder = self.node.setup.folder();
        let socket = folder.join(format!("{name}-{transport:?}.sock"));
        let (local, remote) = (free_port(), free_port());
        let echo = self.echo.addr;
        let run = ssh
            .program("ssh")
            .args(["-v", "-o", "ExitOnForwardFailure=yes"])
            .arg("-L")
            .arg(format!("127.0.0.1:{local}:{echo}"))
            .arg("-R")
            .arg(format!("127.0.0.1:{remote}:{echo}"))
            .arg("-R")
            .arg(format!("{}:{echo}", socket.display()))
            .args(["node", "echo $$; exec cat"]);
        let mut session = Background::spawn(run);
        session.echoes("started");
        let command = session.out().lines().next().unwrap().parse().unwrap();
        let _ = session.says_so_often(2, &["remote forward success for"]);
        let forward = Traffic::start(local);
        let back = Traffic::start(remote);
        Held {
            session,
            command,
            forward,
            back,
            local: at(local),
            remote: at(remote),
            socket,
        }
    }

    fn reload(&self, how: How) -> Instant {
        let start = Instant::now();
        match how {
            How::Signal => self.node.signal(Signal::HUP),
            How::Command => {
                let ended = self.node.setup.on_state("reload").ended();
                assert_eq!(ended.code(), 0, "{ended}{}", self.node.log());
            }
        }
        start
    }
}

/// The scopes of both peers, without those that start with one of `without`.
fn scopes(setup: &Setup, without: &[&str]) -> Vec<String> {
    SCOPES
        .iter()
        .filter(|scope| !without.iter().any(|gone| scope.starts_with(gone)))
        .map(|&scope| match scope {
            "ssh:streamlocal:" => format!("{scope}{}/*", setup.folder().display()),
            other => other.to_owned(),
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum How {
    Signal,
    Command,
}

/// All that one ssh holds open: a command, a forward with traffic, a listener
/// with traffic, a Unix listener.
struct Held {
    session: Background,
    /// The command's process.
    command: u32,
    forward: Traffic,
    back: Traffic,
    local: SocketAddr,
    remote: SocketAddr,
    socket: PathBuf,
}

impl Held {
    /// All of it works, now.
    fn assert_alive(&mut self) {
        self.session.echoes(&format!("{:?}", Instant::now()));
        self.forward.assert_moves();
        self.back.assert_moves();
        assert!(answers(self.local) && answers(self.remote));
        assert!(self.socket.exists());
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A connection to an echo on which bytes flow all the time, each compared
/// with what was sent.
struct Traffic {
    moved: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<Instant>>>,
}

impl Traffic {
    fn start(port: u16) -> Self {
        let mut socket = connect(at(port)).unwrap();
        let moved = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, over) = (Arc::clone(&moved), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(port.into());
            while !over.load(Ordering::SeqCst) {
                let chunk = random.bytes(4096);
                if !comes_back(&mut socket, &chunk) {
                    return Some(Instant::now());
                }
                count.fetch_add(chunk.len(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            None
        });
        let traffic = Self {
            moved,
            stop,
            thread: Some(thread),
        };
        traffic.assert_moves();
        traffic
    }

    fn assert_moves(&self) {
        let before = self.moved.load(Ordering::SeqCst);
        eventually("bytes flow", || {
            let thread = self.thread.as_ref().unwrap();
            assert!(!thread.is_finished(), "a connection ended that should not");
            (self.moved.load(Ordering::SeqCst) > before).then_some(())
        });
    }

    /// Waits until it is cut off; since when it is.
    fn cut(mut self, what: &str) -> Instant {
        let thread = self.thread.take().unwrap();
        eventually(what, || thread.is_finished().then_some(()));
        thread.join().unwrap().expect(what)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Panics when something else comes back.
fn comes_back(socket: &mut Socket, chunk: &[u8]) -> bool {
    let mut back = vec![0; chunk.len()];
    if socket.write_all(chunk).is_err() || socket.read_exact(&mut back).is_err() {
        return false;
    }
    assert!(back == chunk, "other bytes came back");
    true
}

#[test]
fn a_peer_that_is_removed_or_disabled_is_gone() {
    for (what, how) in [("removed", How::Signal), ("disabled", How::Command)] {
        let Some(mut world) = World::new() else {
            return;
        };
        let mut bob = world.hold(&world.bob, Transport::Quic);
        let alice: Vec<_> = Transport::ALL
            .iter()
            .map(|&transport| (transport, world.hold(&world.alice, transport)))
            .collect();
        match how {
            How::Signal => world.peers.remove("alice"),
            How::Command => world.peers.disable("alice"),
        };
        world.peers.write(&world.node.setup);
        let start = world.reload(how);
        for (transport, held) in alice {
            let Held {
                mut session,
                command,
                forward,
                back,
                local: _,
                remote,
                socket,
            } = held;
            let cut = forward
                .cut("the forward of a peer that is gone")
                .max(back.cut("the connection to the listener of a peer that is gone"));
            eventually("its listeners are gone", || {
                (connect(remote).is_err() && !socket.exists()).then_some(())
            });
            eventually("its command is gone", || (!alive(command)).then_some(()));
            eventually("its session is gone", || session.status());
            println!(
                "a peer is {what}: over {transport:?} its connections ended after {:.3} s, the whole session after {:.3} s",
                (cut - start).as_secs_f64(),
                start.elapsed().as_secs_f64()
            );
            let ended = session.ended();
            assert_eq!(ended.code(), 255, "{ended}");
            let ended = Ssh::over(transport, &world.node, &world.alice).run("true");
            ended.line_with(&["Permission denied"]);
        }
        bob.assert_alive();
    }
}

#[test]
fn a_scope_that_is_taken_away_takes_what_it_granted() {
    let Some(mut world) = World::new() else {
        return;
    };
    let mut bob = world.hold(&world.bob, Transport::Tcp);
    for transport in Transport::ALL {
        for (scope, how) in [
            ("ssh:forward", How::Signal),
            ("ssh:listen", How::Command),
            ("ssh:streamlocal", How::Signal),
            ("ssh:exec", How::Command),
        ] {
            let mut alice = world.hold(&world.alice, transport);
            let setup = &world.node.setup;
            let kept = scopes(setup, &[scope]);
            let kept: Vec<_> = kept.iter().map(String::as_str).collect();
            world.peers.rescope("alice", &kept).write(setup);
            let start = world.reload(how);
            let what = format!("{scope} over {transport:?}");
            let cut = match scope {
                "ssh:forward" => {
                    let cut = alice.forward.cut(&what);
                    assert!(!answers(alice.local), "{what}");
                    alice
                        .session
                        .says(&["administratively prohibited"])
                        .expect(&what);
                    cut
                }
                "ssh:listen" => {
                    let cut = alice.back.cut(&what);
                    eventually(&what, || connect(alice.remote).is_err().then_some(()));
                    cut
                }
                "ssh:streamlocal" => {
                    eventually(&what, || (!alice.socket.exists()).then_some(()));
                    Instant::now()
                }
                _ => {
                    eventually(&what, || (!alive(alice.command)).then_some(()));
                    Instant::now()
                }
            };
            println!("{what} ended after {:.3} s", (cut - start).as_secs_f64());
            // The rest of the same session goes on.
            if scope != "ssh:exec" {
                alice.session.echoes("on");
            }
            assert_eq!(answers(alice.local), scope != "ssh:forward", "{what}");
            assert_eq!(answers(alice.remote), scope != "ssh:listen", "{what}");
            assert_eq!(alice.socket.exists(), scope != "ssh:streamlocal", "{what}");
            bob.assert_alive();
            // All of it back for the next round.
            drop(alice.session);
            let all = scopes(&world.node.setup, &[]);
            let all: Vec<_> = all.iter().map(String::as_str).collect();
            world.peers.rescope("alice", &all).write(&world.node.setup);
            world.reload(How::Command);
        }
    }
}

#[test]
fn the_other_channels_of_the_same_session_do_not_blink() {
    let Some(mut world) = World::new() else {
        return;
    };
    for transport in Transport::ALL {
        let mut alice = world.hold(&world.alice, transport);
        let setup = &world.node.setup;
        let kept = scopes(setup, &["ssh:forward"]);
        let kept: Vec<_> = kept.iter().map(String::as_str).collect();
        world.peers.rescope("alice", &kept).write(setup);
        world.reload(How::Command);
        let before = alice.back.moved.load(Ordering::SeqCst);
        alice.forward.cut("the forward");
        alice.back.assert_moves();
        alice.session.echoes("on");
        assert!(alice.back.moved.load(Ordering::SeqCst) > before);
        let all = scopes(&world.node.setup, &[]);
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        world.peers.rescope("alice", &all).write(&world.node.setup);
        world.reload(How::Command);
        // Without a new connection, what is granted again is there again.
        assert!(answers(alice.local), "{transport:?}");
    }
}

#[test]
fn a_rule_that_denies_ends_what_is_there() {
    let Some(world) = World::new() else { return };
    let other = Target::echo();
    let mut bob = world.hold(&world.bob, Transport::Quic);
    let alice = world.hold(&world.alice, Transport::Tcp);
    let ssh = Ssh::over(Transport::Quic, &world.node, &world.alice);
    assert_eq!(ssh.reach("127.0.0.1", other.port()), Reached::Served);
    let target = format!("127.0.0.0/8:{}", world.echo.port());
    let denied = rules(&[("deny", &target, &["alice"])]);
    world.node.setup.replace(
        "forwarding.rules = []",
        &format!("forwarding.rules = {denied}"),
    );
    let start = world.reload(How::Signal);
    let cut = alice.forward.cut("a forward that a rule denies now");
    println!(
        "a denied forward ended after {:.3} s",
        (cut - start).as_secs_f64()
    );
    alice.back.assert_moves();
    assert_eq!(
        ssh.reach("127.0.0.1", world.echo.port()),
        Reached::Prohibited
    );
    assert_eq!(ssh.reach("127.0.0.1", other.port()), Reached::Served);
    bob.assert_alive();

    // A switch is as good as a rule.
    world.node.setup.replace(
        "forwarding.rules = ",
        "forwarding.listen = false\nforwarding.rules = ",
    );
    let start = world.reload(How::Command);
    let cut = alice
        .back
        .cut("a listener's connection that is switched off");
    println!(
        "a switched-off listener ended after {:.3} s",
        (cut - start).as_secs_f64()
    );
    eventually("its listener is gone", || {
        connect(alice.remote).is_err().then_some(())
    });
    bob.session.echoes("on");
    bob.forward.assert_moves();
}

#[test]
fn a_reload_with_a_fault_takes_nothing_away() {
    let Some(world) = World::new() else { return };
    let mut alice = world.hold(&world.alice, Transport::Quic);
    let bad = rules(&[("deny", "127.0.0.1/8:*", &[])]);
    world.node.setup.replace(
        "forwarding.rules = []",
        &format!("forwarding.rules = {bad}"),
    );
    let ended = world.node.setup.on_state("reload").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    ended.line_with(&["node.toml:", "/forwarding/rules/0/target", "127.0.0.0/8"]);
    alice.assert_alive();
}
