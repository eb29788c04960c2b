//! The messages of the client on standard error, which never hold a connection
//! up.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use alknet_text::visible_lines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The messages to the user, on standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    quiet: bool,
    verbose: bool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { quiet, verbose }
    }

    /// Whether nothing but errors is to be said.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The options that make another process of this program as verbose.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match (self.quiet, self.verbose) {
            (true, _) => &["-q"],
            (false, true) => &["-v"],
            (false, false) => &[],
        }
    }

    /// Prints why the command failed.
    pub(crate) fn error(self, message: &dyn fmt::Display) {
        say(message);
    }

    /// Prints something that the user should know, unless `-q` was given.
    pub(crate) fn notice(self, message: &dyn fmt::Display) {
        if !self.quiet {
            say(message);
        }
    }

    /// Prints something that is shown with `-v` only.
    pub(crate) fn detail(self, message: &dyn fmt::Display) {
        if self.verbose {
            say(message);
        }
    }

    /// Waits until all that was said is written, a bounded time.
    pub(crate) fn flush(self) {
        let waiting = WAITING.wait_timeout_while(waiting(), FLUSH_TIMEOUT, |waiting| {
            waiting.busy || !waiting.lines.is_empty()
        });
        drop(waiting);
    }
}

/// The time for which the end of the process waits for a reader that has
/// stalled.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The most lines that wait for a reader; further ones are dropped and counted.
const MAX_LINES: usize = 1000;
/// The bytes that a pipe that is ready takes in one piece (pipe(7), PIPE_BUF).
const AT_ONCE: usize = 4096;

/// The lines that a thread writes, since writing them would have held up the
/// connection.
#[derive(Default)]
struct Waiting {
    lines: VecDeque<String>,
    dropped: usize,
    busy: bool,
    has_thread: bool,
}

static LINES: Mutex<Waiting> = Mutex::new(Waiting {
    lines: VecDeque::new(),
    dropped: 0,
    busy: false,
    has_thread: false,
});
static WAITING: Condvar = Condvar::new();

fn waiting() -> MutexGuard<'static, Waiting> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a message at once where that does not block, and else in its turn:
/// nobody waits for a reader that has stopped (Ctrl-S, a full pipe).
fn say(message: &dyn fmt::Display) {
    let message = message.to_string();
    let line = format!("alknet: {}\n", visible_lines(&message));
    let mut waiting = waiting();
    let first = !waiting.busy && waiting.lines.is_empty();
    if first && line.len() <= AT_ONCE && is_ready() {
        write(&line);
        return;
    }
    if waiting.lines.len() >= MAX_LINES {
        waiting.dropped += 1;
        return;
    }
    waiting.lines.push_back(line);
    if !waiting.has_thread {
        let thread = thread::Builder::new().name("messages".to_owned());
        waiting.has_thread = thread.spawn(write_waiting).is_ok();
    }
    WAITING.notify_all();
}

fn write_waiting() {
    let mut state = waiting();
    loop {
        let Some(line) = state.lines.pop_front() else {
            let waited = WAITING.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.busy = true;
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        write(&line);
        if dropped > 0 {
            write(&format!("alknet: {dropped} messages were left out\n"));
        }
        state = waiting();
        state.busy = false;
        WAITING.notify_all();
    }
}

fn write(line: &str) {
    // There is nobody to tell when standard error is gone.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Whether standard error takes something at once.
pub(crate) fn is_ready() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    // What cannot be polled does not block either.
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once)).is_err() || fds.iter().any(|fd| !fd.revents().is_empty())
}
