//! What a command leaves in the background lives on, as under sshd, and ends
//! when its peer may no longer have it.

use std::time::Duration;

use integration_tests::{
    Alknet, Peers, Run, Setup, Ssh, TestNode, Transport, alive, eventually, requires,
};

/// Ways to leave a process behind; each prints its number.
const FORMS: [&str; 4] = [
    "nohup sleep 1000 >/dev/null 2>&1 & echo $!",
    "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!",
    "sleep 1000 >/dev/null 2>&1 & echo $!",
    // A daemon: a session of its own, and no parent left.
    "(setsid sh -c 'sleep 1000 3>&- & echo $! >&3' 3>&1 </dev/null >/dev/null 2>&1 &)",
];

/// How often each form is tried each way; more by hand, for figures.
fn rounds() -> usize {
    let rounds = std::env::var("ALKNET_TEST_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

type Way = (&'static str, Box<dyn Fn(&str) -> Run>);

fn ways(node: &TestNode) -> Vec<Way> {
    let (quic, tcp) = (
        Ssh::to(node),
        Ssh::over(Transport::Tcp, node, &node.setup.key),
    );
    let shared = Ssh::to(node);
    let alknet = Alknet::to(node);
    let socket = node.setup.folder().join("control");
    vec![
        ("quic", Box::new(move |line: &str| quic.command(line))),
        ("tcp", Box::new(move |line: &str| tcp.command(line))),
        (
            "shared",
            Box::new(move |line: &str| {
                let path = format!("ControlPath={}", socket.display());
                let options = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o"];
                shared
                    .program("ssh")
                    .args(options)
                    .args([&path, "node", line])
            }),
        ),
        ("alknet", Box::new(move |line: &str| alknet.exec(line))),
    ]
}

#[test]
fn jobs_in_the_background_live_however_they_came_and_end_with_the_grant() {
    if !requires(&["ssh", "setsid", "nohup"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let node = setup.start();
    let mut jobs = Vec::new();
    for (way, run) in ways(&node) {
        for form in FORMS.iter().cycle().take(FORMS.len() * rounds()) {
            let ended = run(form).ended();
            assert!(ended.status.success(), "{way}: {ended}");
            let pid: u32 = ended.out().trim().parse().unwrap();
            jobs.push((way, *form, pid));
        }
    }
    // As long as the ends of their channels and connections may take.
    std::thread::sleep(Duration::from_millis(500));
    let living = || jobs.iter().filter(|(_, _, pid)| alive(*pid));
    assert_eq!(
        living().count(),
        jobs.len(),
        "{:?}",
        living().collect::<Vec<_>>()
    );
    eprintln!("{} of {} live", living().count(), jobs.len());

    let mut peers = Peers::new();
    peers.add("owner", &node.setup.key, &["ssh:shell"]);
    peers.write(&node.setup);
    node.setup.on_state("reload").output();
    eventually("all jobs end", || (living().count() == 0).then_some(()));
    eprintln!(
        "{} of {} live after the grant is taken back",
        living().count(),
        jobs.len()
    );
}

/// What `sessions list` says, in JSON.
fn sessions(setup: &Setup) -> Vec<serde_json::Value> {
    let listed = setup.node(&["sessions", "list", "--json", "--state"]);
    serde_json::from_str(&listed.arg(setup.state()).output()).unwrap()
}

#[test]
fn an_operator_sees_what_is_in_the_background_and_ends_it() {
    if !requires(&["ssh", "setsid", "nohup"]) {
        return;
    }
    let node = Setup::new().start();
    let setup = &node.setup;
    let leave = |form: &str| -> u32 { Ssh::to(&node).run(form).out().trim().parse().unwrap() };
    let jobs = [leave(FORMS[0]), leave(FORMS[3]), leave(FORMS[1])];
    let over = eventually("the sessions have ended", || {
        let sessions = sessions(setup);
        let over = sessions.iter().all(|session| session["ended"] == true);
        (over && sessions.len() == jobs.len()).then_some(sessions)
    });
    for session in &over {
        assert_eq!(session["identity"], "owner", "{session}");
        assert_eq!(session["background_jobs"], 1, "{session}");
    }
    let status = setup.on_state("status").output();
    assert!(status.contains("3 in the background"), "{status}");
    let close = |which: &str| {
        let run = setup.node(&["sessions", "close", which, "--state"]);
        run.arg(setup.state()).ended()
    };
    // One session that is over, then all that is left of a peer.
    let first = format!("{}.{}", over[0]["generation"], over[0]["id"]);
    let closed = close(&first);
    assert_eq!(closed.code(), 0, "{closed}");
    assert!(closed.out().contains("1 job in the background"), "{closed}");
    assert_eq!(jobs.map(alive), [false, true, true]);
    assert_ne!(close(&first).code(), 0);
    assert_ne!(close("nobody").code(), 0);
    let closed = close("owner");
    assert_eq!(closed.code(), 0, "{closed}");
    assert!(
        closed
            .out()
            .contains("0 sessions, 2 jobs in the background"),
        "{closed}"
    );
    assert_eq!(jobs.map(alive), [false; 3]);
    assert!(sessions(setup).is_empty());
}

#[test]
fn jobs_end_with_the_node() {
    if !requires(&["ssh", "nohup"]) {
        return;
    }
    let node = Setup::new().start();
    let ended = Ssh::to(&node).run(FORMS[0]);
    let pid: u32 = ended.out().trim().parse().unwrap();
    assert!(alive(pid));
    drop(node);
    eventually("the job ends", || (!alive(pid)).then_some(()));
}

#[test]
fn both_ends_of_a_connection_are_told_over_quic_and_tcp() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let node = setup.start();
    for (transport, addr) in [
        (Transport::Quic, node.addr),
        (Transport::Tcp, node.tcp.unwrap()),
    ] {
        let ssh = Ssh::over(transport, &node, &node.setup.key);
        let said = ssh.run("echo $SSH_CONNECTION / $SSH_CLIENT").out();
        let words: Vec<&str> = said.split_whitespace().collect();
        let [peer, port, here, own, "/", client, client_port, client_own] = words[..] else {
            panic!("{said}");
        };
        assert_eq!(
            (here, own),
            (
                addr.ip().to_string().as_str(),
                addr.port().to_string().as_str()
            )
        );
        assert_eq!((peer, port, own), (client, client_port, client_own));
        assert_eq!(peer, "127.0.0.1");
        assert_ne!(port, own);
    }
}
