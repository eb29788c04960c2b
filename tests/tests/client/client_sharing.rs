//! Commands that share one connection, and the process that keeps it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::{
    Alknet, Background, Ended, NODE, Relay, Run, Setup, Terminal, TestNode, alive, eventually,
    requires,
};
use rustix::process::{Pid, Signal, kill_process};

/// A user of a node behind a relay, whose commands share one connection.
fn through(relay: &Relay, node: &TestNode) -> Alknet {
    let mut user = Alknet::stranger(node);
    user.shares(node, relay.addr());
    user
}

/// Where the sockets lie.
fn folder(user: &Alknet) -> PathBuf {
    user.home().join(".local/state/alknet")
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// The process that keeps the connection.
fn master(user: &Alknet) -> Option<u32> {
    let ended = user.run(&["exec", "-O", "check", NODE]).ended();
    let err = ended.err();
    if ended.code() == 255 {
        assert!(err.contains("nobody listens"), "{ended}");
        return None;
    }
    assert_eq!(ended.code(), 0, "{ended}");
    let pid = err.trim().strip_prefix("Master running (pid=");
    let pid = pid.and_then(|rest| rest.strip_suffix(')'));
    Some(pid.unwrap_or_else(|| panic!("{ended}")).parse().unwrap())
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn says_hello(ended: &Ended) {
    let got = (ended.code(), ended.out(), ended.err());
    assert_eq!(got, (0, "hello\n".to_owned(), String::new()), "{ended}");
}

#[test]
fn the_second_command_needs_three_round_trips_at_most() {
    let node = Setup::new().start();
    let one_way = Duration::from_millis(25);
    let relay = Relay::delaying(node.addr, one_way);
    let user = through(&relay, &node);
    says_hello(&user.exec("echo hello").ended());
    // The least of several: a busy machine only ever adds to it.
    let took = (0..20).map(|_| {
        let started = Instant::now();
        says_hello(&user.exec("echo hello").ended());
        started.elapsed()
    });
    let least = took.min().unwrap();
    let round_trips = |took: Duration| took.as_millis() / (2 * one_way.as_millis());
    assert!(round_trips(least) <= 3, "{least:?}");
    assert_eq!(relay.clients(), 1);

    let alone = ["exec", "-o", "ControlMaster=no", NODE, "echo hello"];
    let started = Instant::now();
    says_hello(&user.run(&alone).ended());
    let alone = started.elapsed();
    println!(
        "round trips: {} ({least:?}); without sharing {} ({alone:?})",
        round_trips(least),
        round_trips(alone)
    );
}

#[test]
fn ten_at_once_start_one_master_and_share_its_connection() {
    let node = Setup::new().start();
    let relay = Relay::to(node.addr);
    let user = through(&relay, &node);
    for _ in 0..2 {
        let running: Vec<_> = (0..10)
            .map(|number| {
                user.exec(&format!("cat; exit {number}"))
                    .stdin("hello\n")
                    .spawn()
            })
            .collect();
        for (number, running) in running.into_iter().enumerate() {
            let ended = running.ended();
            assert_eq!(
                (ended.code(), ended.out()),
                (number as i32, "hello\n".to_owned())
            );
            assert_eq!(ended.err(), "");
        }
    }
    assert_eq!(relay.clients(), 1);
    // The socket and the lock.
    assert_eq!(files(&folder(&user)), 2);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder(&user)), 0o700);
    for file in fs::read_dir(folder(&user)).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_master_that_was_killed_is_replaced() {
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    says_hello(&user.exec("echo hello").ended());
    let first = master(&user).unwrap();
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("before");
    signal(first, Signal::KILL);
    let ended = cat.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    assert!(ended.err().contains("lost the connection"), "{ended}");
    says_hello(&user.exec("echo hello").ended());
    let second = master(&user).unwrap();
    assert_ne!(first, second);
    signal(second, Signal::TERM);
    eventually("the master ends", || (!alive(second)).then_some(()));
    assert_eq!(files(&folder(&user)), 0);
    says_hello(&user.exec("echo hello").ended());
}

#[test]
fn after_a_restart_of_the_node_a_new_master_connects() {
    let node = Setup::new().start();
    let relay = Relay::to(node.addr);
    let user = through(&relay, &node);
    says_hello(&user.exec("echo hello").ended());
    let first = master(&user).unwrap();
    let node = node.stop().setup.start();
    relay.lead_to(node.addr);
    says_hello(&user.exec("echo hello").ended());
    assert_ne!(master(&user).unwrap(), first);
}

#[test]
fn a_master_leaves_when_it_was_idle_for_long_enough() {
    let node = Setup::new().start();
    let user = Alknet::to(&node);
    let auto = ["exec", "-o", "ControlMaster=auto"];
    let run = |more: &[&str]| {
        let args = [&auto, more, &[NODE, "echo hello"]].concat();
        says_hello(&user.run(&args).ended());
    };
    run(&["-o", "ControlPersist=1"]);
    let first = master(&user).unwrap();
    run(&["-o", "ControlPersist=1"]);
    eventually("the master ends", || (!alive(first)).then_some(()));
    assert_eq!(files(&folder(&user)), 0);
    // Without it, with the last command.
    run(&[]);
    eventually("the socket is gone", || {
        (files(&folder(&user)) == 0).then_some(())
    });
    assert_eq!(master(&user), None);
}

#[test]
fn orders_are_those_of_ssh() {
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    let order = |order: &str| user.run(&["exec", "-O", order, NODE]).ended();
    assert_eq!(master(&user), None);
    assert_eq!(order("exit").code(), 255);
    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("before");
    let first = master(&user).unwrap();
    let stop = order("stop");
    assert_eq!(stop.code(), 0, "{stop}");
    assert_eq!(master(&user), None);
    cat.echoes("after");
    // The next has another master, while the first has its command still.
    says_hello(&user.exec("echo hello").ended());
    let second = master(&user).unwrap();
    assert_ne!(first, second);
    assert_eq!(cat.ended().code(), 0);
    eventually("the first master ends", || (!alive(first)).then_some(()));
    assert_eq!(master(&user), Some(second));

    let mut cat = Background::spawn(user.exec("cat"));
    cat.echoes("before");
    let exit = order("exit");
    assert_eq!(exit.code(), 0, "{exit}");
    assert!(exit.err().contains("Exit request sent."), "{exit}");
    assert_eq!(master(&user), None);
    assert_eq!(cat.ended().code(), 255);
    let unknown = order("forward");
    assert_eq!(unknown.code(), 2, "{unknown}");
}

#[test]
fn a_folder_that_others_can_enter_is_refused() {
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    fs::create_dir_all(folder(&user)).unwrap();
    fs::set_permissions(folder(&user), fs::Permissions::from_mode(0o755)).unwrap();
    let ended = user.exec("echo hello").ended();
    assert_eq!((ended.code(), ended.out().as_str()), (255, ""), "{ended}");
    let place = folder(&user);
    ended.line_with(&[place.to_str().unwrap(), "mode 0755", "chmod 700"]);
    let alone = user.run(&["exec", "-o", "ControlMaster=no", NODE, "echo hello"]);
    says_hello(&alone.ended());
    fs::set_permissions(folder(&user), fs::Permissions::from_mode(0o700)).unwrap();
    says_hello(&user.exec("echo hello").ended());
}

#[test]
fn what_cannot_be_used_is_told_of_and_done_without() {
    let node = Setup::new().start();
    let user = Alknet::to(&node);
    fs::set_permissions(user.ssh_folder(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = "ControlPath=~/.ssh/one for all";
    let run = |more: &[&str]| {
        let args = [&["exec", "-o", path], more, &[NODE, "echo hello"]].concat();
        user.run(&args).ended()
    };
    let without = |ended: Ended, why: &str| {
        assert_eq!(
            (ended.code(), ended.out().as_str()),
            (0, "hello\n"),
            "{ended}"
        );
        ended.line_with(&["one for all", why, "connecting without it"]);
    };
    let start = ["-o", "ControlMaster=auto", "-o", "ControlPersist=yes"];
    // Nobody is there, and none is asked for.
    says_hello(&run(&[]));
    says_hello(&run(&start));
    says_hello(&run(&[]));
    without(run(&["-l", "somebody"]), "another user");
    without(run(&["-o", "ControlMaster=yes"]), "already");
    let master = {
        let ended = user.run(&["exec", "-o", path, "-O", "check", NODE]).ended();
        let pid: String = ended.err().chars().filter(char::is_ascii_digit).collect();
        pid.parse().unwrap()
    };
    signal(master, Signal::STOP);
    without(run(&start), "does not answer");
    signal(master, Signal::KILL);

    // One that speaks otherwise.
    let socket = user.ssh_folder().join("one for all");
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut greeting = vec![0, 0, 0, 7, 0];
            greeting.extend(77_u32.to_be_bytes());
            greeting.extend(b"??");
            stream.unwrap().write_all(&greeting).unwrap();
        }
    });
    without(run(&start), "version 77");
}

#[test]
fn output_that_nobody_reads_holds_up_nobody_else() {
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    says_hello(&user.exec("echo hello").ended());
    let started = node.setup.folder().join("started");
    let command = format!("touch {}; exec cat /dev/zero", started.display());
    let mut unread = user
        .exec(&command)
        .into_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it runs", || started.exists().then_some(()));
    // Long enough for all that is kept of it to be full.
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..3 {
        says_hello(&user.exec("echo hello").ended());
    }
    let mut some = [0; 1024];
    unread
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut some)
        .unwrap();
    unread.kill().unwrap();
    unread.wait().unwrap();
    says_hello(&user.exec("echo hello").ended());
}

#[test]
fn a_terminal_is_the_foregrounds() {
    let setup = Setup::new();
    setup.ssh_config("services.shell.enabled = true");
    setup.grant(&["ssh:shell"]);
    let node = setup.start();
    let user = Alknet::sharing(&node);
    for round in 0..2 {
        // A trap may end a read.
        let command = "trap 'echo caught' INT; stty size; while :; do read line || continue; \
                       [ \"$line\" = size ] && stty size; [ \"$line\" = end ] && exit 6; done";
        let run = user.run(&["exec", "-t", NODE, command]);
        let mut terminal = Terminal::open(run, 30, 90);
        terminal.shows("30 90");
        terminal.resize(40, 100);
        // The size and what is typed go different ways: either may be first.
        eventually("the command has the new size", || {
            terminal.types("size\r");
            terminal.all().contains("40 100").then_some(())
        });
        terminal.types("\u{3}").shows("caught");
        terminal.types("end\r");
        let (status, all) = terminal.ended();
        assert_eq!(status.code(), Some(6), "round {round}: {all}");
    }
    // And the way out of it.
    let mut terminal = Terminal::open(user.run(&["exec", "-t", NODE, "echo in; cat"]), 30, 90);
    terminal.shows("in");
    terminal.types("\r~.");
    let (status, all) = terminal.ended();
    assert_eq!(status.code(), Some(255), "{all}");
}

#[test]
fn a_passphrase_is_asked_for_once_and_on_the_terminal() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    let locked = node.setup.folder().join("locked");
    fs::copy(&node.setup.key.file, &locked).unwrap();
    let done = Run::new("ssh-keygen")
        .args(["-q", "-p", "-a", "1", "-N", "open sesame", "-P", "", "-f"])
        .arg(&locked)
        .ended();
    assert_eq!(done.code(), 0, "{done}");
    let locked = locked.to_str().unwrap();
    let args = ["exec", "-i", locked, NODE, "echo hello"];
    // Who gives up is let go, and the master with him.
    let mut terminal = Terminal::open(user.run(&args), 24, 80);
    terminal.shows("Enter passphrase").clear();
    terminal.types("\u{3}");
    assert_eq!(terminal.ended().0.code(), Some(130));
    eventually("the lock is gone", || {
        (files(&folder(&user)) == 0).then_some(())
    });

    let mut terminal = Terminal::open(user.run(&args), 24, 80);
    terminal.shows("Enter passphrase").clear();
    terminal.types("open sesame\r").shows("hello");
    let (status, all) = terminal.ended();
    assert!(status.success() && !all.contains("sesame"), "{all}");
    // Several at once: there is one lane, whose key is forgotten.
    let mut cat = Background::spawn(user.run(&["exec", "-i", locked, NODE, "cat"]));
    cat.echoes("first");
    says_hello(&user.run(&args).ended());
    assert_eq!(cat.ended().code(), 0);
    let exit = user
        .run(&["exec", "-i", locked, "-O", "exit", NODE])
        .ended();
    assert_eq!(exit.code(), 0, "{exit}");
}

#[test]
fn a_connection_that_is_dead_is_left() {
    let node = Setup::new().start();
    let relay = Relay::to(node.addr);
    let user = through(&relay, &node);
    let hello = ["exec", "--timeout", "2", NODE, "echo hello"];
    says_hello(&user.run(&hello).ended());
    let first = master(&user).unwrap();
    relay.cut();
    let ended = user.run(&hello).ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["the node does not answer", "connecting without it"]);
    ended.line_with(&["no answer from"]);
    relay.mend();
    says_hello(&user.run(&hello).ended());
    assert_ne!(master(&user).unwrap(), first);
}

#[test]
fn a_node_that_cannot_be_reached_is_told_of_once() {
    let node = Setup::new().start();
    let user = Alknet::sharing(&node);
    let stranger = user.run(&["exec", "-l", "x", "-i", "/nonexistent", NODE, "true"]);
    let ended = stranger.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    let said = ended.err();
    assert_eq!(said.matches("cannot log in").count(), 1, "{said}");
    assert_eq!(files(&folder(&user)), 0);
}
