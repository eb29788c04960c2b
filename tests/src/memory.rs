//! The memory of a process, followed while a test runs (proc(5)).

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::TestNode;

/// Follows how much memory a node uses, from now on.
pub struct Memory {
    start_kib: usize,
    peak_kib: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// Starts to look.
    pub fn watch(node: &TestNode) -> Self {
        let pid = node.pid();
        let start_kib = resident_kib(pid).unwrap();
        let peak_kib = Arc::new(AtomicUsize::new(start_kib));
        let over = Arc::new(AtomicBool::new(false));
        let (peak, stop) = (Arc::clone(&peak_kib), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                if let Some(now) = resident_kib(pid) {
                    peak.fetch_max(now, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self {
            start_kib,
            peak_kib,
            over,
            thread: Some(thread),
        }
    }

    /// The most it has grown since, in MiB.
    pub fn growth_mib(&self) -> usize {
        (self.peak_kib.load(Ordering::SeqCst) - self.start_kib) / 1024
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a process takes of the machine's memory in KiB, its part of what it
/// shares with others (PSS, proc(5)).
pub fn proportional_kib(pid: u32) -> usize {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse().ok()).unwrap()
}

fn resident_kib(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
