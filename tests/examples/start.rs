//! The CPU that a client takes for one command on this machine: `alknet exec`
//! beside stock `ssh` to a stock `sshd`, whose key exchange is as cheap as it
//! gets. Server time is not counted. Figures in ADR 44.
//!
//!     cargo run --release -p integration-tests --example start

use std::fs;

use integration_tests::{Alknet, Run, Setup, Sshd};

/// Each sample is the mean of so many commands, one after the other.
const COMMANDS: u32 = 5;
const SAMPLES: usize = 21;

fn main() {
    let setup = Setup::new();
    setup.grant(&[]);
    let node = setup.start();
    let key = &node.setup.key;
    let folder = node.setup.folder().join("sshd");
    fs::create_dir(&folder).unwrap();
    let sshd = Sshd::start(&folder, &key.public_line(), "");
    let known_hosts = folder.join("known_hosts");
    let line = format!("[127.0.0.1]:{} {}\n", sshd.addr.port(), sshd.host_key);
    fs::write(&known_hosts, line).unwrap();

    let user = Alknet::to(&node);
    let ours = || user.exec("true");
    let option = |name: &str, value: &str| format!("-o{name}={value}");
    let stock = |kex: &str| {
        let run = Run::new("ssh").args(["-F", "none", "-T"]).args([
            option("IdentitiesOnly", "yes"),
            option("IdentityFile", &key.file.display().to_string()),
            option("UserKnownHostsFile", &known_hosts.display().to_string()),
            option("KexAlgorithms", kex),
            option("Port", &sshd.addr.port().to_string()),
        ]);
        user.surrounded(run).args(["127.0.0.1", "true"])
    };
    let x25519 = || stock("curve25519-sha256");
    let usual = || stock("sntrup761x25519-sha512@openssh.com");

    let mut samples: [Vec<f64>; 3] = Default::default();
    for _ in 0..SAMPLES {
        samples[0].push(cpu(ours()));
        samples[1].push(cpu(x25519()));
        samples[2].push(cpu(usual()));
    }
    let [ours, x25519, usual] = samples.map(median);
    println!("{:<40} {:>8} {:>8}", "client", "CPU ms", "ratio");
    for (name, cpu) in [
        ("ssh to sshd, X25519", x25519),
        ("ssh to sshd, its default", usual),
        ("alknet exec, ML-KEM with X25519", ours),
    ] {
        println!("{name:<40} {cpu:>8.1} {:>8.2}", cpu / x25519);
    }
}

/// User and system time of one run, in milliseconds.
fn cpu(run: Run) -> f64 {
    let script = format!(
        "TIMEFORMAT='%3U %3S'; time for _ in {{1..{COMMANDS}}}; do \"$@\" || exit 1; done 2>&1"
    );
    let ended = run.under(&["bash", "-c", &script, "bash"]).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let seconds: f64 = ended
        .err()
        .split_whitespace()
        .map(|number| number.parse::<f64>().unwrap())
        .sum();
    seconds * 1000.0 / f64::from(COMMANDS)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
