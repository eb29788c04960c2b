//! Whoever does not read the node's log holds up nobody.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::{Alknet, Background, Run, Setup, TestNode, eventually};
use serde_json::Value;

/// Far beyond what it takes on a busy machine.
const GETS_IN_WITHIN: Duration = Duration::from_secs(20);

/// A node whose standard error is a pipe that nobody reads yet.
fn stalled(setup: Setup) -> (TestNode, File) {
    let fifo: PathBuf = setup.folder().join("log");
    Run::new("mkfifo").arg(&fifo).output();
    // With both ends open nobody waits for the other.
    let ends = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let path = fifo.to_str().unwrap();
    let node = TestNode::start_under(&["sh", "-c", "exec \"$@\" 2>\"$0\"", path], setup);
    (node, ends)
}

fn dropped(node: &TestNode) -> u64 {
    let status = node.setup.on_state("status").arg("--json").output();
    let status: Value = serde_json::from_str(&status).unwrap();
    status["node"]["log_records_dropped"].as_u64().unwrap()
}

/// Reads the pipe from now on.
fn read(log: &Path) -> Arc<Mutex<String>> {
    let lines = BufReader::new(File::open(log).unwrap()).lines();
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut text = sink.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

#[test]
fn a_log_that_nobody_reads_stops_no_session_and_tells_what_is_missing() {
    let setup = Setup::new();
    setup.grant(&[]);
    // Much is logged at this level.
    setup.replace("filter = \"info\"", "filter = \"trace\"");
    let (node, mut ends) = stalled(setup);
    let user = Alknet::to(&node);
    let mut sessions: Vec<_> = (0..3)
        .map(|_| Background::spawn(user.exec("cat")))
        .collect();
    eventually("records are dropped", || {
        for (number, session) in sessions.iter_mut().enumerate() {
            session.echoes(&format!("{number} {}", "x".repeat(8000)));
        }
        (dropped(&node) > 0).then_some(())
    });
    // All go on, and one more gets in.
    for session in &mut sessions {
        session.echoes("still here");
    }
    let before = dropped(&node);
    let began = Instant::now();
    let ended = user.exec("echo in").ended();
    assert_eq!((ended.code(), ended.out().as_str()), (0, "in\n"), "{ended}");
    // As soon as ever: not after a timeout of anybody's.
    let took = began.elapsed();
    println!("a new session had its answer after {took:?}");
    assert!(took < GETS_IN_WITHIN, "{took:?}");
    eventually("the counter moves", || {
        for session in &mut sessions {
            session.echoes(&format!("more {}", "x".repeat(8000)));
        }
        (dropped(&node) > before).then_some(())
    });
    let text = node.setup.on_state("status").output();
    assert!(text.contains("records dropped"), "{text}");

    // There is room again.
    let log = read(&node.setup.folder().join("log"));
    eventually("the gap is told", || {
        for session in &mut sessions {
            session.echoes("and now");
        }
        let log = log.lock().unwrap();
        log.contains("log records were dropped").then_some(())
    });
    for session in sessions {
        assert_eq!(session.ended().code(), 0);
    }
    let stopped = node.stop();
    assert!(stopped.status.success());
    // The end of the log is written before the node's.
    ends.write_all(b"the end\n").unwrap();
    eventually("the log is read to its end", || {
        log.lock().unwrap().contains("the end").then_some(())
    });
    let log = log.lock().unwrap();
    assert!(log.lines().any(|line| line.ends_with("stopped")), "{log}");
}
