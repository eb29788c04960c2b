//! What only this process knows while it happens. One set for the process, as
//! are its log and its memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::text::{Histogram, Kind, Number, Page, sample};

/// The transports that connections are counted by.
const TRANSPORTS: [&str; 3] = ["quic", "tcp", "iroh"];

static CONNECTIONS: [AtomicU64; TRANSPORTS.len()] = [const { AtomicU64::new(0) }; TRANSPORTS.len()];
static REJECTED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static HANDSHAKES: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
static HANDSHAKE_SECONDS: [AtomicU64; BOUNDS.len() + 1] =
    [const { AtomicU64::new(0) }; BOUNDS.len() + 1];
static HANDSHAKE_MICROSECONDS: AtomicU64 = AtomicU64::new(0);
static LOAD_FAILURES: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
static PANICS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static LOG_RECORDS_DROPPED: AtomicU64 = AtomicU64::new(0);
static AWAY: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Upper bounds of the handshakes' histogram, in seconds.
const BOUNDS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// How a handshake ended.
#[derive(Clone, Copy)]
pub(crate) enum Handshake {
    Completed,
    Failed,
    TimedOut,
    /// The handshake was not begun: too many were under way, or the node was
    /// stopping.
    Refused,
    /// The peer was asked to prove its address first.
    Retried,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionError {
    /// The node has as many as it may.
    All,
    /// Its address has as many as one address may.
    Address,
    /// The process is short of descriptors.
    Descriptors,
}

impl fmt::Display for AdmissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "the node has as many connections as /connections/max allows",
            Self::Address => {
                "the address has as many connections as /connections/max_per_address allows"
            }
            Self::Descriptors => {
                "TCP connections have taken half of the descriptors; raise the limit (ulimit -n, LimitNOFILE=)"
            }
        })
    }
}

/// The side on which a panic happened.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Node,
    Plugin,
}

/// Counts a connection that was handed to a handler; `transport` carries it.
pub(crate) fn connection(transport: &str) {
    if let Some(at) = TRANSPORTS.iter().position(|name| *name == transport) {
        add(&CONNECTIONS, at);
    }
}

/// Counts a connection that was turned away.
pub(crate) fn rejected(why: AdmissionError) {
    add(&REJECTED, why as usize);
}

/// Counts a handshake that did not complete.
pub(crate) fn handshake(how: Handshake) {
    add(&HANDSHAKES, how as usize);
}

/// Counts a handshake that completed, `after` so long.
pub(crate) fn handshake_completed(after: Duration) {
    handshake(Handshake::Completed);
    let seconds = after.as_secs_f64();
    let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
    add(&HANDSHAKE_SECONDS, bucket.unwrap_or(BOUNDS.len()));
    let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
    HANDSHAKE_MICROSECONDS.fetch_add(micros, Ordering::Relaxed);
}

/// Counts a plugin that was not loaded; `kind` is one of a fixed list.
pub(crate) fn load_failure(kind: &'static str) {
    let mut failures = LOAD_FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    *failures.entry(kind).or_default() += 1;
}

/// Counts a panic that was caught.
pub(crate) fn panic(origin: Origin) {
    add(&PANICS, origin as usize);
}

/// Sets the number of peers that are away, and of the bytes kept for them.
pub(crate) fn away(peers: u64, kept_bytes: u64) {
    for (gauge, value) in AWAY.iter().zip([peers, kept_bytes]) {
        gauge.store(value, Ordering::Relaxed);
    }
}

/// Counts a log record that was dropped: its reader does not keep up, or is
/// gone.
pub(crate) fn log_record_dropped() {
    LOG_RECORDS_DROPPED.fetch_add(1, Ordering::Relaxed);
}

/// The number of log records dropped so far.
pub(crate) fn log_records_dropped() -> u64 {
    LOG_RECORDS_DROPPED.load(Ordering::Relaxed)
}

/// Adds all counters of this module to a page.
pub(super) fn collect(page: &mut Page) {
    let read = |counter: &AtomicU64| Number::Whole(counter.load(Ordering::Relaxed));
    let by = |label: &'static str, names: &[&'static str], counters: &[AtomicU64]| {
        let each = names.iter().zip(counters);
        each.map(|(name, counter)| sample([(label, *name)], read(counter)))
            .collect::<Vec<_>>()
    };
    page.add(
        "alknet_connections_total",
        Kind::Counter,
        "Connections handed to a handler, by transport.",
        by("transport", &TRANSPORTS, &CONNECTIONS),
    );
    page.add(
        "alknet_connections_rejected_total",
        Kind::Counter,
        "Connections turned away because there were too many, by which limit.",
        by(
            "reason",
            &["max", "max_per_address", "descriptors"],
            &REJECTED,
        ),
    );
    for (gauge, (name, help)) in AWAY.iter().zip([
        (
            "alknet_away_peers",
            "Peers that have logged in and have not been heard for ten seconds.",
        ),
        (
            "alknet_away_kept_bytes",
            "Bytes that were sent to such peers and may not have arrived.",
        ),
    ]) {
        page.add_one(name, Kind::Gauge, help, read(gauge));
    }
    page.add(
        "alknet_handshakes_total",
        Kind::Counter,
        "QUIC handshakes, by how they ended.",
        by(
            "result",
            &["completed", "failed", "timed_out", "refused", "retried"],
            &HANDSHAKES,
        ),
    );
    page.add_one(
        "alknet_handshake_seconds",
        Kind::Histogram,
        "Time that completed QUIC handshakes took.",
        Number::Histogram(handshakes()),
    );
    let failures = LOAD_FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    page.add(
        "alknet_plugin_load_failures_total",
        Kind::Counter,
        "Plugin files that were refused, at the start or later, by cause.",
        failures
            .iter()
            .map(|(kind, count)| sample([("kind", kind)], Number::Whole(*count))),
    );
    drop(failures);
    page.add(
        "alknet_panics_total",
        Kind::Counter,
        "Panics that were caught and logged, by where they were.",
        by("origin", &["node", "plugin"], &PANICS),
    );
    page.add_one(
        "alknet_log_records_dropped_total",
        Kind::Counter,
        "Log records that were dropped because standard error did not take them.",
        read(&LOG_RECORDS_DROPPED),
    );
}

fn handshakes() -> Histogram {
    let mut histogram = Histogram::default();
    for (index, counter) in HANDSHAKE_SECONDS.iter().enumerate() {
        histogram.count += counter.load(Ordering::Relaxed);
        if let Some(bound) = BOUNDS.get(index) {
            histogram.buckets.push((*bound, histogram.count));
        }
    }
    let sum = Duration::from_micros(HANDSHAKE_MICROSECONDS.load(Ordering::Relaxed));
    histogram.sum = sum.as_secs_f64();
    histogram
}

fn add(counters: &[AtomicU64], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
