//! What peers who never log in can cost a node.

use std::fs;

use integration_tests::{Dialled, HANG, Setup, TestNode, connect_ssh, dial, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTIONS: usize = 200;

#[test]
fn two_hundred_connections_that_never_log_in_are_gone_after_the_grace() {
    let setup = Setup::new();
    setup.ssh_config(
        "limits.login_grace_seconds = 3\nlimits.max_startups = { start = 500, full = 500 }",
    );
    let node = setup.start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // The first session makes what the node keeps for good.
        assert_eq!(hello(&node).await, "hello\n");
    });
    let before = Footprint::of(&node);

    runtime.block_on(async {
        let mut idle = Vec::new();
        for number in 0..CONNECTIONS {
            let quic = dial(&node).await;
            let stream = match number % 4 {
                0 => None,
                // Opened, but the node cannot know of it.
                1 => Some(quic.stream().await),
                kind => {
                    let mut stream = quic.stream().await;
                    let said: &[u8] = if kind == 2 { b"S" } else { b"SSH-2.0-idle\r\n" };
                    stream.write_all(said).await.unwrap();
                    Some(stream)
                }
            };
            idle.push((quic, stream));
        }
        assert_eq!(hello(&node).await, "hello\n");
        for (quic, _stream) in &idle {
            let closed = tokio::time::timeout(HANG, quic.connection.closed()).await;
            closed.expect("the node closes a connection on which nobody logs in");
        }
    });

    eventually("descriptors and memory are given back", || {
        let after = Footprint::of(&node);
        (after.descriptors <= before.descriptors + 5
            && after.memory_kib <= before.memory_kib + 30 * 1024)
            .then_some(())
    });
    runtime.block_on(async { assert_eq!(hello(&node).await, "hello\n") });
}

async fn hello(node: &TestNode) -> String {
    let quic: Dialled = dial(node).await;
    let client = connect_ssh(node, &quic).await;
    let mut process = client.exec("echo hello", &[]).await.unwrap();
    let mut output = String::new();
    process.stdout.read_to_string(&mut output).await.unwrap();
    client.disconnect().await;
    output
}

#[derive(Debug)]
struct Footprint {
    descriptors: usize,
    memory_kib: usize,
}

impl Footprint {
    fn of(node: &TestNode) -> Self {
        let process = format!("/proc/{}", node.pid());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        Self {
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count(),
            memory_kib: resident.split_whitespace().nth(1).unwrap().parse().unwrap(),
        }
    }
}
