//! What those who do not get in, or hold on to what they got, can do to others.

use std::io::{Read, Write};
use std::time::Instant;

use integration_tests::{
    Background, HANG, Loopback, Run, Setup, Ssh, TestKey, TestNode, Transport, eventually, log_in,
    requires,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

const ATTACKER: Loopback = Loopback(66);
const USER: Loopback = Loopback(2);

/// Nobody is exempt here, since everybody comes from this machine.
const PENALTIES: &str = "limits.penalties = { exempt = [], authfail_seconds = 2, \
                         noauth_seconds = 1, grace_exceeded_seconds = 2, min_seconds = 2, \
                         max_seconds = 6 }";

fn setup(lines: &str) -> Setup {
    let setup = Setup::new();
    setup.listen_on_tcp().ssh_config(lines);
    setup
}

/// What `status` says of the SSH handler that serves.
fn handler(node: &TestNode) -> Value {
    let status = node.setup.on_state("status").arg("--json").output();
    let status: Value = serde_json::from_str(&status).unwrap();
    let generations = status["generations"].as_array().unwrap();
    let serving = generations.iter().find(|one| one["state"] == "serving");
    serving.unwrap()["handler"].clone()
}

#[test]
fn a_user_gets_in_past_silent_and_failing_connections_on_tcp() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = setup(&format!("limits.login_grace_seconds = 20\n{PENALTIES}")).start();
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    let silent: Vec<_> = (0..200).map(|_| ATTACKER.tcp(&node).unwrap()).collect();
    // Once: it writes the files that all of them read.
    let ssh = Ssh::over(Transport::Tcp, &node, &stranger);
    let failing: Vec<_> = (0..50)
        .map(|_| {
            ssh.program("ssh")
                .args(["-b", "127.0.0.67", "node", "true"])
                .spawn()
        })
        .collect();

    let began = Instant::now();
    let ended = Ssh::over_tcp(&node)
        .program("ssh")
        .args(["-b", "127.0.0.2", "node", "echo in"])
        .ended();
    println!("a user got in after {:?}", began.elapsed());
    assert_eq!(ended.out(), "in\n", "{ended}");
    assert!(began.elapsed() < HANG);

    for ended in failing.into_iter().map(|ssh| ssh.ended()) {
        assert_eq!(ended.code(), 255, "{ended}");
    }
    // Of the silent ones most were told at once that there are too many.
    let mut refused = 0;
    for mut stream in silent {
        let mut said = [0; 20];
        let read = stream.read(&mut said).unwrap();
        refused += usize::from(said[..read].starts_with(b"Exceeded MaxStartups"));
    }
    assert_eq!(refused, 160);
    node.logged(&["connection rejected", "127.0.0.66:", "not logged in"]);
    node.logged(&["address penalised", "127.0.0.67", "authfail"]);
}

#[test]
fn a_user_gets_in_past_silent_and_failing_connections_on_quic() {
    let node = setup(&format!("limits.login_grace_seconds = 20\n{PENALTIES}")).start();
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    Runtime::new().unwrap().block_on(async {
        let mut silent = Vec::new();
        for number in 0..200 {
            let dialled = ATTACKER.quic(&node).await.unwrap();
            // It may be closed by then.
            let mut stream = dialled.connection.open_bi().await.ok();
            if let Some((send, _)) = &mut stream
                && number % 2 == 0
            {
                let _ = send.write_all(b"S").await;
            }
            silent.push((dialled, stream));
        }
        let mut refused = 0;
        for _ in 0..50 {
            let dialled = Loopback(67).quic(&node).await.unwrap();
            refused += usize::from(log_in(&node, &dialled, "root", &stranger).await.is_err());
        }
        assert_eq!(refused, 50);

        let began = Instant::now();
        let dialled = USER.quic(&node).await.unwrap();
        let owner = &node.setup.key;
        let client = log_in(&node, &dialled, "me", owner).await.unwrap();
        println!("a user got in after {:?}", began.elapsed());
        client.disconnect().await;
        assert!(began.elapsed() < HANG);

        // The right key does not help an address that is penalised.
        let dialled = Loopback(67).quic(&node).await.unwrap();
        assert!(log_in(&node, &dialled, "me", owner).await.is_err());
        let closed = dialled.connection.closed().await.to_string();
        assert!(closed.contains("Not allowed at this time"), "{closed}");
    });
}

#[test]
fn penalties_are_shown_survive_a_reload_and_a_swap_and_expire() {
    let setup = setup(
        "limits.penalties = { exempt = [], authfail_seconds = 45, min_seconds = 45, max_seconds = 60 }",
    );
    let node = setup.start();
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    let runtime = Runtime::new().unwrap();
    let gets_in = |key: &TestKey| {
        runtime.block_on(async {
            let dialled = ATTACKER.quic(&node).await.unwrap();
            log_in(&node, &dialled, "me", key).await.is_ok()
        })
    };
    let owner = &node.setup.key;
    assert!(gets_in(owner));
    assert!(!gets_in(&stranger));
    let penalised = || {
        let handler = handler(&node);
        let sources = handler["penalised_sources"].as_array().unwrap();
        assert_eq!(
            handler["penalised"].as_u64().unwrap() as usize,
            sources.len()
        );
        sources.iter().any(|one| one["source"] == "127.0.0.66")
    };
    eventually("the attacker is penalised", || penalised().then_some(()));
    assert!(!gets_in(owner));

    node.setup.append("node.toml", "limits.max_channels = 99\n");
    node.setup.on_state("reload").output();
    assert!(penalised());
    let swap = ["plugins", "reload", "ssh", "--force", "--state"];
    node.setup.node(&swap).arg(node.setup.state()).output();
    assert!(penalised());
    assert!(!gets_in(owner));

    eventually("the penalty is over", || gets_in(owner).then_some(()));
    eventually("it is shown no more", || (!penalised()).then_some(()));
}

#[test]
fn many_idle_connections_leave_descriptors_for_a_user() {
    if !requires(&["ssh"]) {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let node = setup("limits.max_startups = { start = 5000, full = 5000, per_source = 0 }");
    node.append("node.toml", "\n[connections]\nmax_per_address = 5000\n");
    let node = node.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = line.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "the soft limit is the hard one");

    let idle: Vec<_> = (0..1100).map(|_| ATTACKER.tcp(&node).unwrap()).collect();
    let ended = Ssh::over_tcp(&node).run("echo in");
    assert_eq!(ended.out(), "in\n", "{ended}");
    assert_eq!(Ssh::to(&node).run("echo in").out(), "in\n");
    drop(idle);
    assert!(!node.log().contains("cannot accept"), "{}", node.log());
}

#[test]
fn connections_beyond_the_caps_are_turned_away_and_counted() {
    let node = setup("");
    node.append(
        "node.toml",
        "\n[connections]\nmax = 6\nmax_per_address = 4\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
    );
    let node = node.start();
    let runtime = Runtime::new().unwrap();
    let banner = |from: Loopback| {
        let mut said = [0; 4];
        let read = from.tcp(&node).unwrap().read_exact(&mut said);
        read.is_ok() && &said == b"SSH-"
    };
    let mut held = vec![ATTACKER.tcp(&node).unwrap(), ATTACKER.tcp(&node).unwrap()];
    for stream in &mut held {
        stream.read_exact(&mut [0; 4]).unwrap();
    }
    let quic = runtime.block_on(async {
        [
            ATTACKER.quic(&node).await.unwrap(),
            ATTACKER.quic(&node).await.unwrap(),
        ]
    });
    admitted(&node, 2);
    // Two of each are as many as one address may have.
    assert!(!banner(ATTACKER));
    let refused = runtime.block_on(ATTACKER.quic(&node)).err().unwrap();
    assert!(refused.to_string().contains("refused"), "{refused}");
    node.logged(&[
        "connection rejected",
        "127.0.0.66:",
        "tcp",
        "max_per_address",
    ]);
    node.logged(&[
        "connection rejected",
        "127.0.0.66:",
        "quic",
        "max_per_address",
    ]);

    // Others may come until all together are as many as may be.
    let mut other = USER.tcp(&node).unwrap();
    other.read_exact(&mut [0; 4]).unwrap();
    let third = runtime.block_on(USER.quic(&node)).unwrap();
    admitted(&node, 3);
    assert!(!banner(USER));
    node.logged(&["connection rejected", "127.0.0.2:", "/connections/max "]);
    let metrics = metrics(&node);
    for (reason, least) in [("max_per_address", 2), ("max", 1)] {
        let name = format!("alknet_connections_rejected_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let count: u64 = line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
        assert!(count >= least, "{reason}: {count}");
    }

    // More may come once there is room, or the configuration makes some.
    node.setup.replace("max = 6", "max = 60");
    node.setup
        .replace("max_per_address = 4", "max_per_address = 40");
    node.setup.on_state("reload").output();
    assert!(banner(ATTACKER));
    drop((held, quic, other, third));
}

/// Waits until the node has let in so many QUIC connections: it is done with a
/// handshake a moment after the client is.
fn admitted(node: &TestNode, connections: usize) {
    let line = format!("alknet_connections_total{{transport=\"quic\"}} {connections}\n");
    eventually("the node lets them in", || {
        metrics(node).contains(&line).then_some(())
    });
}

fn metrics(node: &TestNode) -> String {
    let text = node.stdout();
    let addr = text
        .split_once("http://")
        .unwrap()
        .1
        .split_once('/')
        .unwrap()
        .0;
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_agent_with_forty_keys_gets_as_far_as_the_limit_says() {
    if !requires(&["ssh", "ssh-agent", "ssh-add"]) {
        return;
    }
    let node = setup("").start();
    let folder = node.setup.folder();
    let socket = folder.join("agent");
    let agent = Run::new("ssh-agent").arg("-D").arg("-a").arg(&socket);
    let _agent = Background::spawn(agent);
    eventually("the agent listens", || socket.exists().then_some(()));
    let add = |key: &TestKey| {
        let run = Run::new("ssh-add").env("SSH_AUTH_SOCK", &socket);
        run.arg("-q").arg(&key.file).output();
    };
    let strangers: Vec<_> = (0..39)
        .map(|number| TestKey::make(folder, &format!("stranger{number}")))
        .collect();
    // One that is in the agent too, so that the agent's order counts.
    let ssh = Ssh::over(Transport::Tcp, &node, &strangers[0]);
    let log_in = || {
        let agent = format!("IdentityAgent={}", socket.display());
        ssh.program("ssh")
            .args(["-o", &agent, "-o", "IdentitiesOnly=no", "node", "echo in"])
            .ended()
    };
    strangers.iter().take(20).for_each(add);
    add(&node.setup.key);
    strangers.iter().skip(20).for_each(add);
    let ended = log_in();
    assert_eq!(ended.out(), "in\n", "{ended}");

    // As the last of forty it is beyond the limit, and the user hears why.
    Run::new("ssh-add")
        .env("SSH_AUTH_SOCK", &socket)
        .args(["-q", "-D"])
        .output();
    strangers.iter().for_each(add);
    add(&node.setup.key);
    let ended = log_in();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["too many authentication failures"]);
    node.logged(&["auth attempt", "too many keys were offered"]);

    node.setup
        .append("node.toml", "limits.max_key_offers = 40\n");
    node.setup.on_state("reload").output();
    let ended = log_in();
    assert_eq!(ended.out(), "in\n", "{ended}");
}

#[test]
fn a_session_without_a_channel_ends_when_it_may_not_idle() {
    let node = setup("limits.session_idle_seconds = 2").start();
    Runtime::new().unwrap().block_on(async {
        let dialled = USER.quic(&node).await.unwrap();
        let client = log_in(&node, &dialled, "me", &node.setup.key)
            .await
            .unwrap();
        // A channel keeps it, for longer than it may be without one.
        let mut process = client.exec("sleep 5; echo done", &[]).await.unwrap();
        let mut said = String::new();
        process.stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "done\n");
        node.logged(&["connection closed", "no channel was open"]);
    });
}

#[test]
fn an_idle_channel_is_closed_and_a_busy_one_is_not() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = setup("limits.channel_idle_seconds = 3").start();
    let ssh = Ssh::to(&node);
    let busy = ssh
        .command("for i in 1 2 3 4 5 6; do sleep 1; echo $i; done")
        .spawn();
    let idle = ssh.run("sleep 1000");
    assert_ne!(idle.code(), 0, "{idle}");
    idle.line_with(&["nothing came from it or went to it for too long"]);
    assert_eq!(busy.ended().out(), "1\n2\n3\n4\n5\n6\n");
}
