//! `alknet exec` beside `ssh`: the same cases through both, and through a shared
//! connection; then what only ours has.

use std::fs;

use integration_tests::{
    Alknet, NODE, Random, Run, Setup, Ssh, TestNode, alive, eventually, requires, sha256_of_file,
};

const MIB: u64 = 1 << 20;

/// A way to run a command, with its name.
type Way = (&'static str, Box<dyn Fn(&str) -> Run>);

fn ways(node: &TestNode) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for (way, alknet) in users(node) {
        ways.push((way, Box::new(move |command| alknet.exec(command))));
    }
    if requires(&["ssh"]) {
        let ssh = Ssh::to(node);
        ways.push(("ssh", Box::new(move |command| ssh.command(command))));
    }
    ways
}

/// Users of `alknet exec`: one whose commands have a connection each, and one
/// whose share one.
fn users(node: &TestNode) -> [(&'static str, Alknet); 2] {
    [
        ("alknet", Alknet::to(node)),
        ("shared", Alknet::sharing(node)),
    ]
}

#[test]
fn statuses_streams_and_ends_are_those_of_ssh() {
    let node = Setup::new().start();
    for (way, run) in ways(&node) {
        for (command, input, status, out, err) in [
            ("true", "", 0, "", ""),
            ("exit 3", "", 3, "", ""),
            ("exit 255", "", 255, "", ""),
            ("echo out; echo err >&2; exit 7", "", 7, "out\n", "err\n"),
            ("no-such-program 2>/dev/null", "", 127, "", ""),
            ("cat", "to the end", 0, "to the end", ""),
            ("cat; echo after", "x\n", 0, "x\nafter\n", ""),
            ("head -c 2", "abcdef", 0, "ab", ""),
            ("wc -c", "", 0, "0\n", ""),
            ("exec >&-; sleep 0.1; exit 9", "", 9, "", ""),
            ("exec >&- 2>&-; sleep 0.1; exit 9", "", 9, "", ""),
            (
                "sleep 0.1; printf 'no line feed'",
                "",
                0,
                "no line feed",
                "",
            ),
            (
                "exec 2>/dev/null; sh -c 'kill -9 $$'; exit $?",
                "",
                137,
                "",
                "",
            ),
            ("printf '%s|' a 'b  c' \"d\"", "", 0, "a|b  c|d|", ""),
        ] {
            let ended = run(command).stdin(input).ended();
            let got = (ended.code(), ended.out(), ended.err());
            let wanted = (status, out.to_owned(), err.to_owned());
            assert_eq!(got, wanted, "{way}: {command}");
        }
    }
}

#[test]
fn a_hundred_megabytes_each_way_arrive_whole() {
    let node = Setup::new().start();
    let folder = node.setup.folder().to_owned();
    let sent = folder.join("sent");
    Random::new(1).file(&sent, 100 * MIB as usize);
    let digest = sha256_of_file(&sent);
    for (way, run) in ways(&node) {
        let stored = folder.join(format!("{way}.stored"));
        let up = run(&format!("cat > {}", stored.display()))
            .stdin_file(&sent)
            .ended();
        assert_eq!(up.code(), 0, "{way}: {up}");
        assert_eq!(sha256_of_file(&stored), digest, "{way}");

        let received = folder.join(format!("{way}.received"));
        let down = run(&format!("cat {}", sent.display()))
            .stdout_file(&received)
            .ended();
        assert_eq!(down.code(), 0, "{way}: {down}");
        assert_eq!(sha256_of_file(&received), digest, "{way}");

        let echoed = folder.join(format!("{way}.echoed"));
        let through = run("cat").stdin_file(&sent).stdout_file(&echoed).ended();
        assert_eq!(through.code(), 0, "{way}: {through}");
        assert_eq!(sha256_of_file(&echoed), digest, "{way}");
    }
}

#[test]
fn endless_output_ends_with_its_reader() {
    let node = Setup::new().start();
    for (way, alknet) in users(&node) {
        let program = integration_tests::artifacts().client.display();
        let script = format!("{program} exec {NODE} 'echo $$; exec yes' | head -n 1; echo done");
        let ended = alknet
            .surrounded(Run::new("bash"))
            .args(["-c", &script])
            .ended();
        let out = ended.out();
        let (pid, rest) = out.split_once('\n').unwrap();
        assert_eq!(rest, "done\n", "{way}: {ended}");
        assert_eq!(ended.err(), "");
        let pid = pid.parse().unwrap();
        eventually("yes has ended on the node", || (!alive(pid)).then_some(()));
    }
}

#[test]
fn a_signal_reaches_the_command_and_the_status_names_it() {
    let node = Setup::new().start();
    for (way, alknet) in users(&node) {
        let ready = node.setup.folder().join("ready");
        let start = |traps: &str| {
            let _ = fs::remove_file(&ready);
            let command = format!(
                "{traps} touch {}; while :; do sleep 0.1; done",
                ready.display()
            );
            let running = alknet.exec(&command).spawn();
            eventually("the command runs", || ready.exists().then_some(()));
            running
        };
        let signal = |pid: u32, signal| {
            let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
        };
        let running = start("");
        signal(running.id(), rustix::process::Signal::TERM);
        let ended = running.ended();
        assert_eq!(ended.code(), 128 + 15, "{way}: {ended}");
        assert_eq!(ended.err(), "");

        // The command's own end by a signal.
        assert_eq!(alknet.exec("kill -9 $$").ended().code(), 128 + 9);

        let running = start("trap 'echo bye; exit 4' INT;");
        signal(running.id(), rustix::process::Signal::INT);
        let ended = running.ended();
        assert_eq!((ended.code(), ended.out().as_str()), (4, "bye\n"));
    }
}

#[test]
fn a_terminal_is_left_as_it_was() {
    if !requires(&["script", "stty"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("services.shell.enabled = true");
    setup.grant(&["ssh:shell"]);
    let node = setup.start();
    for (way, alknet) in users(&node) {
        let program = integration_tests::artifacts().client.display();
        let script = format!(
            "before=$(stty -g); {program} exec -t {NODE} 'exit 5'; echo status $?; \
             [ \"$before\" = \"$(stty -g)\" ] && echo same"
        );
        let ended = alknet
            .surrounded(Run::new("script"))
            .args(["-qec", &script, "/dev/null"])
            .ended();
        let out = ended.out();
        assert!(
            out.contains("status 5") && out.contains("same"),
            "{way}: {out}"
        );
    }
}

#[test]
fn options_may_stand_before_the_command_and_are_its_own_after_it() {
    let node = Setup::new().start();
    for (way, alknet) in users(&node) {
        for (args, out) in [
            (&["exec", "-T", NODE, "echo", "-n", "a"][..], "a"),
            (&["exec", NODE, "-T", "--", "echo", "-n", "a"], "a"),
            (&["-q", "exec", "-n", NODE, "cat"], ""),
            (
                &["exec", "-l", "somebody", NODE, "echo", "--", "-v"],
                "-- -v\n",
            ),
        ] {
            let ended = alknet.run(args).stdin("input").ended();
            let got = (ended.code(), ended.out());
            assert_eq!(got, (0, out.to_owned()), "{way}: {args:?}: {ended}");
        }
    }
}

#[test]
fn a_node_that_dies_is_told_of() {
    let node = Setup::new().start();
    let ready = |way: &str| node.setup.folder().join(format!("{way}.ready"));
    let running = users(&node).map(|(way, alknet)| {
        let command = format!("touch {}; sleep 1000", ready(way).display());
        let running = alknet.exec(&command).spawn();
        eventually("the command runs", || ready(way).exists().then_some(()));
        (way, alknet, running)
    });
    node.terminate();
    for (way, _alknet, running) in running {
        let ended = running.ended();
        assert_eq!(ended.code(), 255, "{way}: {ended}");
        assert!(
            ended.err().contains("lost the connection"),
            "{way}: {ended}"
        );
    }
}

#[test]
fn a_ping_says_how_far_the_node_is_and_what_it_is() {
    let node = Setup::new().start();
    let alknet = Alknet::to(&node);
    let ended = alknet.run(&["ping", NODE, "-c", "2"]).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let out = ended.out();
    assert!(out.contains(&node.addr.to_string()), "{out}");
    assert!(out.contains(&node.node_key.to_string()), "{out}");
    assert!(out.contains("SSH-2.0-alknet_"), "{out}");
    assert!(
        out.contains("round trip 2: ") && out.contains("0 of 2 unanswered"),
        "{out}"
    );
}
