//! Our own client over QUIC, in this process, against a real node; and peers
//! that do not keep to the rules.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use alknet_ssh::{Client, Exit, RemoteProcess};
use integration_tests::{
    HANG, Random, Setup, Ssh, TestKey, TestNode, alive, artifacts, connect_ssh, dial, dial_as,
    eventually, requires, sha256,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1024 * 1024;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let guarded = async { tokio::time::timeout(HANG, future).await };
    let outcome = runtime.block_on(guarded);
    runtime.shutdown_background();
    outcome.expect("this hangs")
}

async fn output(client: &Client, command: &str) -> (String, String, Exit) {
    let mut process = client.exec(command, &[]).await.unwrap();
    // The command may have ended already.
    let _ = process.stdin.finish().await;
    let (mut out, mut err) = (String::new(), String::new());
    let (out_read, err_read) = tokio::join!(
        process.stdout.read_to_string(&mut out),
        process.stderr.read_to_string(&mut err)
    );
    out_read.unwrap();
    err_read.unwrap();
    (out, err, process.wait().await)
}

#[test]
fn a_command_runs() {
    let node = Setup::new().start();
    run(async {
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        let (out, err, exit) = output(&client, "echo out; echo err >&2; exit 3").await;
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
        assert_eq!(exit, Exit::Status(3));
        let (.., exit) = output(&client, "kill -TERM $$").await;
        let Exit::Signal { signal, .. } = exit else {
            panic!("{exit:?}")
        };
        assert!(format!("{signal:?}").contains("TERM"), "{signal:?}");
        client.disconnect().await;
    });
}

#[test]
fn bulk_runs_both_ways_at_once_on_one_channel() {
    let node = Setup::new().start();
    run(async {
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        through_cat(&client, 1, 64 * MIB).await;
        client.disconnect().await;
    });
}

#[test]
fn bulk_runs_both_ways_at_once_on_four_channels() {
    let node = Setup::new().start();
    run(async {
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        let transfers = (1..=4).map(|seed| through_cat(&client, seed, 64 * MIB));
        let [a, b, c, d]: [_; 4] = transfers.collect::<Vec<_>>().try_into().ok().unwrap();
        tokio::join!(a, b, c, d);
        client.disconnect().await;
    });
}

/// Sends random bytes through `cat` and expects them back.
async fn through_cat(client: &Client, seed: u64, length: usize) {
    let process = client.exec("cat", &[]).await.unwrap();
    let RemoteProcess {
        stdin, mut stdout, ..
    } = process;
    let sent = Random::new(seed).bytes(length);
    let digest = sha256(&sent);
    let send = async {
        for chunk in sent.chunks(MIB) {
            stdin.send(chunk.to_vec()).await.unwrap();
        }
        stdin.finish().await.unwrap();
    };
    let receive = async {
        let mut received = Vec::with_capacity(length);
        stdout.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(send, receive);
    assert_eq!(received.len(), length);
    assert_eq!(sha256(&received), digest);
}

#[test]
fn two_ssh_connections_share_one_quic_connection() {
    let node = Setup::new().start();
    run(async {
        let quic = dial(&node).await;
        let (first, second) = tokio::join!(connect_ssh(&node, &quic), connect_ssh(&node, &quic));
        let (one, two) = tokio::join!(output(&first, "echo 1"), output(&second, "echo 2"));
        assert_eq!((one.0.as_str(), two.0.as_str()), ("1\n", "2\n"));
        first.disconnect().await;
        // The end of one is not the end of the other, nor of the link.
        assert_eq!(output(&second, "echo 3").await.0, "3\n");
        let third = connect_ssh(&node, &quic).await;
        assert_eq!(output(&third, "echo 4").await.0, "4\n");
    });
}

#[test]
fn a_listed_tls_key_names_the_peer() {
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "machine");
    setup.append(
        "peers.toml",
        &format!(
            "\n[[peers]]\nid = \"machine-7\"\nnode_keys = [\"{}\"]\n",
            key.tls().public()
        ),
    );
    setup.replace("filter = \"info\"", "filter = \"info,alknet_node=debug\"");
    let node = setup.start();
    run(async {
        let _known = dial_as(&node, Some(key.tls()), b"alknet/ssh")
            .await
            .unwrap();
        let line = node.logged(&["connection accepted", "machine-7"]);
        assert!(line.contains(&key.tls().public().to_string()), "{line}");

        let stranger = TestKey::make(node.setup.folder(), "stranger").tls();
        let unknown = stranger.public().to_string();
        let _unknown = dial_as(&node, Some(stranger), b"alknet/ssh").await.unwrap();
        let line = node.logged(&["connection accepted", &unknown]);
        assert!(!line.contains("identity="), "{line}");
    });
}

#[test]
fn a_tls_key_and_an_ssh_key_of_two_people_do_not_mix() {
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "machine");
    let listed = key.tls().public();
    setup.append(
        "peers.toml",
        &format!("\n[[peers]]\nid = \"machine-7\"\nnode_keys = [\"{listed}\"]\n"),
    );
    let node = setup.start();
    run(async {
        let quic = dial_as(&node, Some(key.tls()), b"alknet/ssh")
            .await
            .unwrap();
        let options = alknet_ssh::ClientOptions::default();
        let stream = quic.stream().await;
        let mut client = Client::connect(stream, &options, |_| true).await.unwrap();
        let owner = node.setup.key.ssh();
        let refused = client.authenticate("anyone", owner).await.unwrap_err();
        assert_eq!(refused.to_string(), "the server refused the key");
        node.logged(&["refused", "another identity"]);
    });
}

#[test]
fn a_client_without_the_protocol_is_told_and_the_node_serves_on() {
    let node = Setup::new().start();
    run(async {
        let error = dial_as(&node, None, b"h3").await.err().unwrap();
        assert_eq!(error.to_string(), "the node does not speak h3");
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        assert_eq!(output(&client, "echo on").await.0, "on\n");
    });
}

#[test]
fn garbage_in_place_of_ssh_ends_that_stream_alone() {
    let node = Setup::new().start();
    run(async {
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        for garbage in [
            Random::new(9).bytes(100_000),
            b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
            b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            [b"SSH-2.0-y\r\n".to_vec(), Random::new(8).bytes(300_000)].concat(),
        ] {
            let mut stream = quic.stream().await;
            // The node may hang up in the middle of it.
            let _ = stream.write_all(&garbage).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
        assert_eq!(output(&client, "echo on").await.0, "on\n");
    });
    node.logged(&["connection rejected"]);
}

/// A node where what a command started ends with its channel.
fn ending_with_the_channel() -> Setup {
    let setup = Setup::new();
    setup.ssh_config("services.exec.end_with_channel = true");
    // A peer that says nothing is gone sooner than in 12 hours.
    setup.append("node.toml", "\n[limits]\noffline_seconds = 30\n");
    setup
}

#[test]
fn a_client_that_vanishes_takes_its_command_along() {
    let node = ending_with_the_channel().start();
    let pid_file = node.setup.folder().join("pid");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let held = runtime.block_on(async {
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        let process = client.exec(writes_pid(&pid_file), &[]).await.unwrap();
        (quic, client, process)
    });
    let pid = pid_in(&pid_file);
    // No thread is left to say goodbye, as if the machine had lost its power.
    runtime.shutdown_background();
    std::mem::forget(held);
    assert!(alive(pid));
    eventually("the command of a vanished client has ended", || {
        (!alive(pid)).then_some(())
    });
    node.logged(&["connection closed"]);
}

#[test]
fn a_killed_proxy_command_takes_the_remote_command_along() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = ending_with_the_channel().start();
    let pid_file = node.setup.folder().join("pid");
    let ssh = Ssh::to(&node);
    let file = node.setup.folder().join("file");
    Random::new(2).file(&file, 200 * MIB);
    let running = ssh
        .command(&writes_pid(&pid_file))
        .stdin_file(&file)
        .spawn();
    let pid = pid_in(&pid_file);
    let proxy = child_of(running.id(), &artifacts().client);
    let proxy = rustix::process::Pid::from_raw(proxy.try_into().unwrap()).unwrap();
    rustix::process::kill_process(proxy, rustix::process::Signal::KILL).unwrap();
    let ended = running.ended();
    assert_eq!(ended.code(), 255, "{ended}");
    eventually("the command of a killed client has ended", || {
        (!alive(pid)).then_some(())
    });
    assert_eq!(ssh.run("exit 7").code(), 7);
}

/// Writes its process id, then reads slowly for ever.
fn writes_pid(file: &Path) -> String {
    format!(
        "echo $$ > {0}.new && mv {0}.new {0} && while :; do head -c 4096 >/dev/null; sleep 0.05; done",
        file.display()
    )
}

fn pid_in(file: &Path) -> u32 {
    let text = eventually("the command has started", || fs::read_to_string(file).ok());
    text.trim().parse().unwrap()
}

/// The process below `parent` that runs `program`.
fn child_of(parent: u32, program: &Path) -> u32 {
    eventually("ssh has started its ProxyCommand", || {
        let mut below = vec![parent];
        while let Some(pid) = below.pop() {
            if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program) {
                return Some(pid);
            }
            let children = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
            let children = fs::read_to_string(children).unwrap_or_default();
            below.extend(
                children
                    .split_whitespace()
                    .map(|pid| pid.parse::<u32>().unwrap()),
            );
        }
        None
    })
}

#[test]
fn the_node_is_not_held_up_by_a_client_that_sends_nothing() {
    let node: TestNode = Setup::new().start();
    run(async {
        let quiet = dial(&node).await;
        let mut stream = quiet.stream().await;
        stream.write_all(b"SSH-2.0-quiet\r\n").await.unwrap();
        let quic = dial(&node).await;
        let client = connect_ssh(&node, &quic).await;
        assert_eq!(output(&client, "echo on").await.0, "on\n");
    });
}
