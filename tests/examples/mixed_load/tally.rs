//! The counts of what went well, what a kill excuses, and every failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// How many lines of the log are kept, to be shown after a failure.
const LOG_LINES: usize = 60;
/// After the node is back, forwards back off for a while before they connect
/// again.
const RECONNECTING: Duration = Duration::from_secs(45);

/// What everybody has to tell.
pub(crate) struct Tally {
    began: Instant,
    inner: Mutex<Inner>,
    up: Mutex<bool>,
    is_up: Condvar,
    kills: AtomicU64,
    over: AtomicBool,
    /// Operations that are under way.
    pub(crate) busy: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    /// Of each kind: those that went well, those that a kill ended, and bytes.
    done: BTreeMap<&'static str, (u64, u64, u64)>,
    failures: Vec<String>,
    marks: Vec<(f64, &'static str)>,
    log: VecDeque<String>,
    log_lines: u64,
    dropped_told: u64,
    back: Option<Instant>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            inner: Mutex::default(),
            up: Mutex::new(true),
            is_up: Condvar::new(),
            kills: AtomicU64::new(0),
            over: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
        }
    }
}

impl Tally {
    /// Waits until the node serves; gives the number of the life it is in, and
    /// `None` when the load is over.
    pub(crate) fn begins(&self) -> Option<u64> {
        let mut up = self.up.lock().unwrap();
        while !*up && !self.is_over() {
            up = self
                .is_up
                .wait_timeout(up, Duration::from_millis(100))
                .unwrap()
                .0;
        }
        (!self.is_over()).then(|| self.kills.load(Ordering::SeqCst))
    }

    /// How something ended that began in that life.
    pub(crate) fn ended(&self, what: &'static str, life: u64, outcome: Result<u64, String>) {
        let excused = self.is_excused(life);
        self.note(what, excused, outcome);
    }

    /// The same for what goes through a forward, which connects again by
    /// itself after a while.
    pub(crate) fn ended_by_forward(
        &self,
        what: &'static str,
        life: u64,
        outcome: Result<u64, String>,
    ) {
        let back = self.inner.lock().unwrap().back;
        let reconnecting = back.is_some_and(|back| back.elapsed() < RECONNECTING);
        self.note(what, self.is_excused(life) || reconnecting, outcome);
    }

    fn is_excused(&self, life: u64) -> bool {
        self.kills.load(Ordering::SeqCst) != life
    }

    fn note(&self, what: &'static str, excused: bool, outcome: Result<u64, String>) {
        let mut inner = self.inner.lock().unwrap();
        let done = inner.done.entry(what).or_default();
        match outcome {
            Ok(bytes) => {
                done.0 += 1;
                done.2 += bytes;
            }
            // Nothing explains these.
            Err(why) if why.contains("other bytes") => {
                inner.failures.push(format!("{what}: {why}"));
            }
            Err(_) if excused => done.1 += 1,
            Err(why) => {
                let at = self.began.elapsed().as_secs_f64();
                inner.failures.push(format!("{what}, {at:.1} s: {why}"));
            }
        }
    }

    /// The node is about to be killed.
    pub(crate) fn goes_down(&self) {
        *self.up.lock().unwrap() = false;
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    /// It serves again.
    pub(crate) fn is_back(&self) {
        self.inner.lock().unwrap().back = Some(Instant::now());
        *self.up.lock().unwrap() = true;
        self.is_up.notify_all();
    }

    /// Nothing begins any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.is_up.notify_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn check(&self, good: bool, otherwise: impl FnOnce() -> String) {
        if !good {
            self.fail(otherwise());
        }
    }

    pub(crate) fn fail(&self, what: String) {
        println!("  {what}");
        let at = self.began.elapsed().as_secs_f64();
        let mut inner = self.inner.lock().unwrap();
        inner.failures.push(format!("{at:.1} s: {what}"));
    }

    pub(crate) fn mark(&self, what: &'static str) {
        let at = self.seconds();
        self.inner.lock().unwrap().marks.push((at, what));
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// A line of the node's log.
    pub(crate) fn logged(&self, line: &str) {
        if line.contains("panic") {
            self.fail(format!("the log has a panic: {line}"));
        }
        let mut inner = self.inner.lock().unwrap();
        inner.log_lines += 1;
        if let Some(count) = dropped(line) {
            inner.dropped_told += count;
        }
        if inner.log.len() == LOG_LINES {
            inner.log.pop_front();
        }
        inner.log.push_back(line.to_owned());
    }

    /// How many records the log says that it lacks.
    pub(crate) fn dropped_told(&self) -> u64 {
        self.inner.lock().unwrap().dropped_told
    }

    pub(crate) fn marks(&self) -> Vec<(f64, &'static str)> {
        self.inner.lock().unwrap().marks.clone()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.inner.lock().unwrap().failures.clone()
    }

    pub(crate) fn last_log_lines(&self) -> String {
        let inner = self.inner.lock().unwrap();
        inner.log.iter().map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn summary(&self) -> String {
        let inner = self.inner.lock().unwrap();
        let mut text = format!(
            "{:<22} {:>9} {:>15} {:>10}\n",
            "", "went well", "ended by a kill", "MiB"
        );
        for (what, (well, killed, bytes)) in &inner.done {
            let mib = bytes >> 20;
            text.push_str(&format!("{what:<22} {well:>9} {killed:>15} {mib:>10}\n"));
        }
        let kills = self.kills.load(Ordering::SeqCst);
        text.push_str(&format!(
            "{kills} kills, {} lines of log read, {} told to be missing",
            inner.log_lines, inner.dropped_told
        ));
        text
    }
}

/// The number in `log records were dropped … dropped=N`.
fn dropped(line: &str) -> Option<u64> {
    let (_, fields) = line.split_once("log records were dropped")?;
    let (_, value) = fields.split_once("dropped=")?;
    value.split_whitespace().next()?.parse().ok()
}
