//! The way of log records to where they are written: a bounded queue and a
//! thread of its own. Whoever logs never waits for whoever reads.
//!
//! Records keep their order. What finds no room is dropped and counted; a
//! record in its place says how many are missing, and since when.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

/// The most records that may wait.
const MAX_RECORDS: usize = 4096;
/// The most bytes of records that may wait.
const MAX_BYTES: usize = 1024 * 1024;

/// Records on their way to a descriptor.
pub(super) struct Queue {
    shared: Arc<Shared>,
}

/// Records that are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// The number of records.
    pub(super) count: u64,
    /// When the first of them was dropped.
    pub(super) since: Instant,
}

/// A function that makes the record, with its line feed, that tells of a gap;
/// an empty one is not written.
pub(super) type TellGap = fn(Gap) -> Vec<u8>;

struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when everything is written.
    written: Condvar,
    dropped: fn(),
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Item>,
    bytes: usize,
    /// The records dropped since the last one that found room.
    gap: Option<Gap>,
    /// Whether a record is being written.
    busy: bool,
    /// Whether the last record could not be written: the record of a gap would
    /// fail, too.
    failing: bool,
}

enum Item {
    Record(Box<[u8]>),
    Gap(Gap),
}

impl Queue {
    /// Starts the thread that writes to `output`. `dropped` is called for each
    /// record that is not written.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        output: impl AsFd + Send + 'static,
        tell_gap: TellGap,
        dropped: fn(),
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            dropped,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || writer.run(output.as_fd(), tell_gap))?;
        Ok(Self { shared })
    }

    /// Puts a record in; never waits for the output.
    pub(super) fn put(&self, record: &[u8]) {
        let mut state = self.shared.state();
        if !state.has_room(record.len()) {
            state.miss(1);
            drop(state);
            (self.shared.dropped)();
            return;
        }
        if let Some(gap) = state.gap.take() {
            state.waiting.push_back(Item::Gap(gap));
        }
        state.bytes += record.len();
        state.waiting.push_back(Item::Record(record.into()));
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Waits until all records are written, `at_most` so long. Returns whether
    /// they are.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let state = self.shared.state();
        let written = self
            .shared
            .written
            .wait_timeout_while(state, at_most, |state| !state.is_written());
        let (state, _) = written.unwrap_or_else(PoisonError::into_inner);
        state.is_written()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, output: BorrowedFd<'_>, tell_gap: TellGap) {
        let mut torn = false;
        loop {
            let outcome = match self.next() {
                Item::Record(record) => write_record(output, &record, &mut torn).map_err(|_| {
                    (self.dropped)();
                    Gap::of(1)
                }),
                // Its records were counted when they were dropped.
                Item::Gap(gap) => write_record(output, &tell_gap(gap), &mut torn).map_err(|_| gap),
            };
            let mut state = self.state();
            state.busy = false;
            state.failing = outcome.is_err();
            if let Err(gap) = outcome {
                state.missed_before(gap);
            }
        }
    }

    /// Waits for the next item to write.
    fn next(&self) -> Item {
        let mut state = self.state();
        loop {
            if let Some(item) = state.take() {
                state.busy = true;
                return item;
            }
            self.written.notify_all();
            let filled = self.filled.wait(state);
            state = filled.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// Once something was dropped, half of the queue must be free again: one
    /// gap is told then, not one for each record.
    fn has_room(&self, length: usize) -> bool {
        let (records, bytes) = match self.gap {
            Some(_) if !self.failing => (MAX_RECORDS / 2, MAX_BYTES / 2),
            _ => (MAX_RECORDS, MAX_BYTES),
        };
        self.waiting.len() < records && self.bytes + length <= bytes
    }

    fn miss(&mut self, count: u64) {
        self.gap.get_or_insert_with(|| Gap::of(0)).count += count;
    }

    /// Notes records that were taken out and not written, before all that wait.
    fn missed_before(&mut self, missing: Gap) {
        let next = match self.waiting.front_mut() {
            Some(Item::Gap(next)) => next,
            // What waits has little hope either, and may come after the gap.
            _ => self.gap.get_or_insert(Gap {
                count: 0,
                ..missing
            }),
        };
        next.count += missing.count;
        next.since = next.since.min(missing.since);
    }

    fn take(&mut self) -> Option<Item> {
        match self.waiting.pop_front() {
            Some(Item::Record(record)) => {
                self.bytes -= record.len();
                Some(Item::Record(record))
            }
            Some(gap) => Some(gap),
            None if self.failing => None,
            None => self.gap.take().map(Item::Gap),
        }
    }

    fn is_written(&self) -> bool {
        let untold = self.gap.is_some() && !self.failing;
        self.waiting.is_empty() && !self.busy && !untold
    }
}

impl Gap {
    fn of(count: u64) -> Self {
        Self {
            count,
            since: Instant::now(),
        }
    }
}

/// Writes a whole record. `torn` says whether the one before ended within.
fn write_record(output: BorrowedFd<'_>, record: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn && !record.is_empty() {
        write_all(output, b"\n").map_err(|(error, _)| error)?;
        *torn = false;
    }
    write_all(output, record).map_err(|(error, written)| {
        *torn = written > 0;
        error
    })
}

/// Writes all bytes; an error comes with the number of bytes that were written.
fn write_all(output: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(output, rest) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(more) => written += more,
            Err(rustix::io::Errno::INTR) => {}
            // Whoever shares the descriptor has made it non-blocking.
            Err(rustix::io::Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&output, PollFlags::OUT)], None);
            }
            Err(error) => return Err((error.into(), written)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{BufRead as _, BufReader};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn told(gap: Gap) -> Vec<u8> {
        format!("gap {}\n", gap.count).into_bytes()
    }

    #[test]
    fn who_does_not_read_costs_records_and_holds_nobody_up() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (reader, writer) = std::io::pipe().unwrap();
        let queue = Queue::start(writer, told, || {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        // More than the pipe and the queue hold together.
        let put = 16 * MAX_RECORDS;
        for number in 0..put {
            queue.put(format!("{number}\n").as_bytes());
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        assert!(dropped > 0, "everything found room");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let (mut read, mut missing) = (0, 0);
        while read + missing < put as u64 {
            let line = lines.next().unwrap();
            match line.strip_prefix("gap ") {
                Some(gap) => missing += gap.parse::<u64>().unwrap(),
                None => {
                    assert_eq!(line, (read + missing).to_string(), "in order");
                    read += 1;
                }
            }
        }
        assert_eq!(missing, dropped);
        queue.put(b"after\n");
        assert_eq!(lines.next().unwrap(), "after");
        assert!(queue.flush(LONG));
    }

    #[test]
    fn a_gap_stands_where_the_records_are_missing() {
        let mut state = State {
            bytes: MAX_BYTES,
            ..State::default()
        };
        assert!(!state.has_room(1));
        state.miss(2);
        state.bytes = MAX_BYTES / 2 + 1;
        assert!(!state.has_room(1), "one gap, not one for each record");
        state.bytes = 0;
        assert!(state.has_room(1));
        assert!(!state.is_written(), "the gap is still to be told");
        assert!(matches!(
            state.take(),
            Some(Item::Gap(Gap { count: 2, .. }))
        ));
        assert!(state.is_written());
    }

    #[test]
    fn what_an_output_refuses_is_counted_and_no_thread_spins() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let queue = Queue::start(full, told, || {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        queue.put(b"1\n");
        assert!(queue.flush(LONG));
        queue.put(b"2\n");
        assert!(queue.flush(LONG));
        assert_eq!(DROPPED.load(Ordering::Relaxed), 2);
        assert_eq!(queue.shared.state().gap.unwrap().count, 2);
    }

    #[test]
    fn a_flush_ends_although_nobody_reads() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let queue = Queue::start(writer, told, || {}).unwrap();
        queue.put(&[b'x'; 1024 * 1024]);
        assert!(!queue.flush(Duration::from_millis(10)));
    }
}
