//! What is counted by kind, for who collects metrics. Every label takes its
//! values from a fixed list.

mod admission_error;
mod auth_error;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use self::admission_error::AdmissionError;
pub(crate) use self::auth_error::AuthError;
use crate::connection::transport::PassedBytes;

/// The kind of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChannelKind {
    Session,
    DirectTcpip,
    DirectStreamLocal,
    ForwardedTcpip,
    ForwardedStreamLocal,
    Agent,
}

impl ChannelKind {
    /// The name in metrics and audit records.
    pub(crate) fn name(self) -> &'static str {
        CHANNELS.get(self as usize).copied().unwrap_or_default()
    }
}

/// The kind of a channel or global request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestKind {
    Exec,
    Shell,
    Subsystem,
    Pty,
    Env,
    TcpipForward,
    StreamLocalForward,
    Agent,
    X11,
}

impl RequestKind {
    /// The name in metrics and audit records.
    pub(crate) fn name(self) -> &'static str {
        REQUESTS.get(self as usize).copied().unwrap_or_default()
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Granted,
    Denied,
    Failed,
}

/// The outcome of a record for the audit file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AuditOutcome {
    Written,
    /// More came than could be written.
    Dropped,
    /// The file did not take it.
    Failed,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionEnd {
    Normal,
    Idle,
    LoginGrace,
    Lifetime,
    Revoked,
    Drained,
    Closed,
    Error,
}

/// All counters of a handler.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    channels: Matrix<6, 3>,
    requests: Matrix<9, 3>,
    accepted: AtomicU64,
    refused: Row<{ REFUSALS.len() }>,
    accepted_by_endpoint: AtomicU64,
    rejected: Row<4>,
    audit: Row<3>,
    ended: Row<8>,
    login: Histogram,
    /// Bytes of SSH on the wire.
    pub(crate) bytes: Arc<PassedBytes>,
}

impl Metrics {
    pub(crate) fn channel(&self, kind: ChannelKind, verdict: Verdict) {
        self.channels.add(kind as usize, verdict as usize);
    }

    pub(crate) fn request(&self, kind: RequestKind, verdict: Verdict) {
        self.requests.add(kind as usize, verdict as usize);
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a log-in by the key of the TLS handshake.
    pub(crate) fn accepted_by_endpoint(&self) {
        self.accepted_by_endpoint.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was turned away before it could log in.
    pub(crate) fn rejected(&self, rejection: AdmissionError) {
        self.rejected.add(rejection as usize);
    }

    pub(crate) fn audit(&self, outcome: AuditOutcome, records: u64) {
        self.audit.add_many(outcome as usize, records);
    }

    pub(crate) fn refused(&self, refusal: AuthError) {
        self.refused.add(refusal as usize);
    }

    pub(crate) fn ended(&self, end: SessionEnd) {
        self.ended.add(end as usize);
    }

    /// Counts a log-in, `after` so long since the connection was opened.
    pub(crate) fn logged_in(&self, after: Duration) {
        self.login.add(after);
    }

    /// A list of families: name, type, help and samples with their labels.
    pub(crate) fn to_json(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = self.refused.samples(
            &REFUSALS,
            |reason| json!({ "result": "refused", "reason": reason }),
        );
        let accepted = [
            ("publickey", &self.accepted),
            ("endpoint_key", &self.accepted_by_endpoint),
        ]
        .map(|(reason, counter)| {
            json!({
                "labels": { "result": "accepted", "reason": reason },
                "value": read(counter),
            })
        });
        json!([
            {
                "name": "channels_total",
                "type": "counter",
                "help": "SSH channels asked for, by kind and verdict.",
                "samples": self.channels.samples(&CHANNELS, &["opened", "denied", "failed"]),
            },
            {
                "name": "requests_total",
                "type": "counter",
                "help": "Requests within SSH connections, by kind and verdict.",
                "samples": self.requests.samples(&REQUESTS, &["granted", "denied", "failed"]),
            },
            {
                "name": "auth_total",
                "type": "counter",
                "help": "Attempts to authenticate, by result and reason.",
                "samples": accepted.into_iter().chain(refused).collect::<Vec<_>>(),
            },
            {
                "name": "rejected_total",
                "type": "counter",
                "help": "Connections turned away before they could log in, by reason.",
                "samples": self.rejected
                    .samples(&REJECTIONS, |reason| json!({ "reason": reason }))
                    .collect::<Vec<_>>(),
            },
            {
                "name": "audit_records_total",
                "type": "counter",
                "help": "Records for the audit file, by what became of them.",
                "samples": self.audit
                    .samples(&["written", "dropped", "failed"], |result| json!({ "result": result }))
                    .collect::<Vec<_>>(),
            },
            {
                "name": "sessions_ended_total",
                "type": "counter",
                "help": "SSH connections that ended, by reason.",
                "samples": self.ended.samples(&ENDS, |reason| json!({ "reason": reason }))
                    .collect::<Vec<_>>(),
            },
            {
                "name": "bytes_total",
                "type": "counter",
                "help": "Bytes of SSH on the wire, all connections.",
                "samples": [
                    { "labels": { "direction": "received" }, "value": read(&self.bytes.received) },
                    { "labels": { "direction": "sent" }, "value": read(&self.bytes.sent) },
                ],
            },
            {
                "name": "login_seconds",
                "type": "histogram",
                "help": "From an SSH connection's first byte to the end of authentication.",
                "samples": [self.login.sample()],
            },
        ])
    }
}

const CHANNELS: [&str; 6] = [
    "session",
    "direct_tcpip",
    "direct_streamlocal",
    "forwarded_tcpip",
    "forwarded_streamlocal",
    "agent",
];
const REQUESTS: [&str; 9] = [
    "exec",
    "shell",
    "subsystem",
    "pty",
    "env",
    "tcpip_forward",
    "streamlocal_forward",
    "agent",
    "x11",
];
/// The labels of failed log-ins, in the order of [`AuthError`].
const REFUSALS: [&str; 27] = [
    "unknown_key",
    "signature",
    "sha1",
    "weak_rsa",
    "security_key",
    "certificate",
    "algorithm",
    "method",
    "other_identity",
    "too_many",
    "store",
    "host_certificate",
    "certificate_dates",
    "certificate_early",
    "certificate_signature",
    "no_principal",
    "unknown_certificate",
    "critical_option",
    "certificate_extension",
    "certificate_account",
    "address",
    "no_address",
    "expired",
    "revoked",
    "two_commands",
    "account",
    "conditions",
];
const _: () = assert!(AuthError::Conditions as usize + 1 == REFUSALS.len());
/// The labels of rejected connections, in the order of [`AdmissionError`].
const REJECTIONS: [&str; 4] = ["penalised", "per_source", "max_startups", "unbound"];
const ENDS: [&str; 8] = [
    "normal",
    "idle",
    "login_grace",
    "lifetime",
    "revoked",
    "drained",
    "closed",
    "error",
];

#[derive(Debug)]
struct Row<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Row<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Row<N> {
    fn add(&self, at: usize) {
        self.add_many(at, 1);
    }

    fn add_many(&self, at: usize, count: u64) {
        if let Some(counter) = self.0.get(at) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn samples(
        &self,
        names: &[&str; N],
        labels: impl Fn(&str) -> Value,
    ) -> impl Iterator<Item = Value> {
        names.iter().zip(&self.0).map(move |(name, counter)| {
            json!({ "labels": labels(name), "value": counter.load(Ordering::Relaxed) })
        })
    }
}

/// Counters by kind and verdict.
#[derive(Debug)]
struct Matrix<const N: usize, const M: usize>([Row<M>; N]);

impl<const N: usize, const M: usize> Default for Matrix<N, M> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Row::default()))
    }
}

impl<const N: usize, const M: usize> Matrix<N, M> {
    fn add(&self, row: usize, column: usize) {
        if let Some(row) = self.0.get(row) {
            row.add(column);
        }
    }

    fn samples(&self, kinds: &[&str; N], verdicts: &[&str; M]) -> Vec<Value> {
        let rows = kinds.iter().zip(&self.0);
        rows.flat_map(|(kind, row)| {
            row.samples(
                verdicts,
                move |verdict| json!({ "kind": kind, "verdict": verdict }),
            )
        })
        .collect()
    }
}

/// A histogram of seconds; the counts are cumulative in the output.
#[derive(Debug, Default)]
struct Histogram {
    buckets: Row<12>,
    microseconds: AtomicU64,
}

/// Upper bounds in seconds; what is beyond counts in the last bucket.
const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

impl Histogram {
    fn add(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.buckets.add(bucket.unwrap_or(BOUNDS.len()));
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
    }

    fn sample(&self) -> Value {
        let mut count = 0;
        let mut buckets = Vec::new();
        let counters = self.buckets.0.iter();
        for (at, counter) in counters.enumerate() {
            count += counter.load(Ordering::Relaxed);
            if let Some(bound) = BOUNDS.get(at) {
                buckets.push(json!([bound, count]));
            }
        }
        let sum = Duration::from_micros(self.microseconds.load(Ordering::Relaxed));
        json!({ "buckets": buckets, "sum": sum.as_secs_f64(), "count": count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_their_values_count() {
        let metrics = Metrics::default();
        metrics.channel(ChannelKind::Agent, Verdict::Failed);
        metrics.request(RequestKind::X11, Verdict::Denied);
        metrics.refused(AuthError::StoreFailed);
        metrics.refused(AuthError::UnknownKey);
        metrics.refused(AuthError::Account);
        metrics.refused(AuthError::Conditions);
        metrics.ended(SessionEnd::Error);
        let told = metrics.to_json();
        let counted: Vec<String> = told
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|family| family["samples"].as_array().unwrap())
            .filter(|sample| sample["value"] == 1)
            .map(|sample| sample["labels"].to_string())
            .collect();
        assert_eq!(
            counted,
            [
                r#"{"kind":"agent","verdict":"failed"}"#,
                r#"{"kind":"x11","verdict":"denied"}"#,
                r#"{"reason":"unknown_key","result":"refused"}"#,
                r#"{"reason":"store","result":"refused"}"#,
                r#"{"reason":"account","result":"refused"}"#,
                r#"{"reason":"conditions","result":"refused"}"#,
                r#"{"reason":"error"}"#,
            ]
        );
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let histogram = Histogram::default();
        for millis in [1, 20, 20, 60_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let sample = histogram.sample();
        assert_eq!(sample["count"], 4);
        assert_eq!(sample["buckets"][0], json!([0.005, 1]));
        assert_eq!(sample["buckets"][2], json!([0.025, 3]));
        assert_eq!(sample["buckets"][10], json!([10.0, 3]));
        assert_eq!(sample["sum"], 60.041);
    }
}
