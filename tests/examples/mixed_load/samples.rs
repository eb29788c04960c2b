//! Samples of the node's memory and load, taken once a second.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::tally::Tally;

const PACE: Duration = Duration::from_secs(1);
/// From the moment a node is ready to the look at what it takes.
const STARTED: Duration = Duration::from_millis(2500);

/// What the node takes at one time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Seconds since the begin.
    pub(crate) at: f64,
    /// Resident memory (VmRSS, proc(5)).
    pub(crate) kib: usize,
    /// What of it is not pages of files, such as code that was run (RssAnon).
    pub(crate) anonymous_kib: usize,
    pub(crate) descriptors: usize,
    /// Operations of users that are under way.
    pub(crate) busy: usize,
}

/// What the node takes, once a second; nothing while it is not there.
pub(crate) struct Samples(Arc<State>);

struct State {
    tally: Arc<Tally>,
    taken: Mutex<Vec<Sample>>,
    pid: Mutex<Option<u32>>,
    start: Mutex<Sample>,
}

impl Samples {
    pub(crate) fn begin(tally: Arc<Tally>) -> Self {
        let state = Arc::new(State {
            tally,
            taken: Mutex::default(),
            pid: Mutex::default(),
            start: Mutex::default(),
        });
        let shared = Arc::downgrade(&state);
        std::thread::spawn(move || {
            while let Some(state) = shared.upgrade() {
                if let Some(sample) = state.pid.lock().unwrap().and_then(|pid| state.look(pid)) {
                    state.taken.lock().unwrap().push(sample);
                }
                drop(state);
                std::thread::sleep(PACE);
            }
        });
        Self(state)
    }

    /// A node was started, to which nobody comes yet.
    pub(crate) fn life_begins(&self, pid: u32) {
        std::thread::sleep(STARTED);
        *self.0.start.lock().unwrap() = self.now(pid);
        *self.0.pid.lock().unwrap() = Some(pid);
    }

    pub(crate) fn life_ends(&self) {
        *self.0.pid.lock().unwrap() = None;
    }

    /// Takes no more.
    pub(crate) fn end(&self) {
        self.life_ends();
    }

    /// What the node took when it was started last.
    pub(crate) fn start_of_life(&self) -> Sample {
        *self.0.start.lock().unwrap()
    }

    pub(crate) fn now(&self, pid: u32) -> Sample {
        self.0.look(pid).unwrap()
    }

    pub(crate) fn all(&self) -> Vec<Sample> {
        self.0.taken.lock().unwrap().clone()
    }
}

impl State {
    fn look(&self, pid: u32) -> Option<Sample> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<usize> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Sample {
            at: self.tally.seconds(),
            kib: field("VmRSS:")?,
            anonymous_kib: field("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            busy: self.tally.busy.load(Ordering::SeqCst),
        })
    }
}
