//! What it costs a node to set up a command: `true`, one after the other over
//! one open connection. The time of the node's processor is that of the node,
//! its monitor and all that they started; the owner, who is not confined, and a
//! guest. Figures in ADR 60.
//!
//!     cargo run --release -p integration-tests --example setup_cost
//!
//! `ALKNET_TEST_NODE` and `ALKNET_TEST_PLUGIN` name another version's.

use std::fs;
use std::time::{Duration, Instant};

use alknet_ssh::{Client, Exit};
use integration_tests::{Peers, Setup, TestNode, connect_ssh, dial};

/// Each sample is the mean of so many commands.
const COMMANDS: u32 = 200;
const SAMPLES: usize = 5;

fn main() {
    println!("{:<12} {:>12} {:>12}", "peer", "CPU ms", "wall ms");
    for is_guest in [false, true] {
        let setup = Setup::new();
        if is_guest {
            Peers::new()
                .add_guest("owner", &setup.key, &["ssh:exec"])
                .write(&setup);
        }
        let node = setup.start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (cpu, wall) = runtime.block_on(measure(&node));
        let peer = if is_guest { "guest" } else { "owner" };
        println!("{peer:<12} {cpu:>12.2} {wall:>12.2}");
    }
}

/// Medians for one command, in milliseconds.
async fn measure(node: &TestNode) -> (f64, f64) {
    let dialled = dial(node).await;
    let client = connect_ssh(node, &dialled).await;
    run(&client).await;
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let (cpu_before, before) = (processor_time(node), Instant::now());
        for _ in 0..COMMANDS {
            run(&client).await;
        }
        let taken = before.elapsed();
        // Those who wait for the last one have a moment.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let each = 1000.0 / f64::from(COMMANDS);
        cpu.push((processor_time(node) - cpu_before) * each);
        wall.push(taken.as_secs_f64() * each);
    }
    (median(cpu), median(wall))
}

async fn run(client: &Client) {
    let mut process = client.exec("true", &[]).await.unwrap();
    while process.stdout.chunk().await.is_some() {}
    assert_eq!(process.end.wait().await, Exit::Status(0));
}

/// Of the node and its children, with those that have ended and were waited
/// for, in seconds (proc_pid_stat(5)).
fn processor_time(node: &TestNode) -> f64 {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ticks: u64 = entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields: Vec<u64> = stat
                .rsplit_once(") ")?
                .1
                .split_whitespace()
                .map(|field| field.parse().unwrap_or_default())
                .collect();
            let ours = pid == node.pid() || fields[1] == u64::from(node.pid());
            ours.then(|| fields[11..15].iter().sum::<u64>())
        })
        .sum();
    let each = rustix::param::clock_ticks_per_second();
    ticks as f64 / each as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
