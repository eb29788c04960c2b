//! The records of the audit file: one JSON object a line, with its own
//! committed JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of the audit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The time of the event, in UTC with milliseconds (RFC 3339):
    /// `2026-01-31T12:00:00.000Z`.
    pub time: String,
    /// The generation of the handler, as `alknet-node status` counts them.
    pub generation: u64,
    /// The number of the SSH connection within the generation; 0 for records
    /// that are about none.
    pub session: u64,
    /// Where it comes from, `ip:port`; IPv6 in brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_addr: Option<String>,
    /// The id of the peer, once it has logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// An SSH connection began.
    SessionOpened,
    /// An SSH connection was turned away before it began.
    SessionRejected {
        /// The reason.
        reason: String,
    },
    /// Somebody tried to log in.
    Auth {
        /// The user name given, shortened to 64 characters.
        user: String,
        /// The key's fingerprint, `SHA256:…`; for a log-in by the key of the
        /// QUIC handshake `ed25519:…`. Absent where there was no key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_fingerprint: Option<String>,
        /// `granted` or `denied`.
        verdict: AuditVerdict,
        /// The reason for which it was denied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A channel was asked for.
    ChannelOpened {
        /// A number for the channel within the connection; 0 where it was not
        /// opened.
        channel: u64,
        /// `session`, `direct_tcpip`, `direct_streamlocal`,
        /// `forwarded_tcpip`, `forwarded_streamlocal` or `agent`.
        kind: String,
        /// `granted`, `denied`, or `failed` where it was not forbidden and
        /// did not succeed.
        verdict: AuditVerdict,
        /// Where it leads, as `audit.destinations` says: `host:port`, a path,
        /// or `hmac-sha256:` and 32 hex digits. Absent with `off`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        destination: Option<String>,
        /// The reason for which it was not granted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A channel was closed.
    ChannelClosed {
        /// The channel's number, as in `channel_opened`.
        channel: u64,
        /// The channel's kind, as in `channel_opened`.
        kind: String,
        /// Bytes that came from the peer.
        bytes_received: u64,
        /// Bytes that went to the peer.
        bytes_sent: u64,
        /// How long it was open, in milliseconds.
        duration_ms: u64,
    },
    /// A request within the connection was decided on.
    Request {
        /// `exec`, `shell`, `subsystem`, `pty` (a terminal), `tcpip_forward`
        /// (`ssh -R`), `streamlocal_forward` (the same with a Unix socket),
        /// `agent` or `x11`.
        kind: String,
        /// `granted`, `denied`, or `failed` where it was not forbidden and did
        /// not work.
        verdict: AuditVerdict,
        /// The reason for which it was denied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An SSH connection ended.
    SessionClosed {
        /// The reason.
        reason: String,
        /// Bytes of SSH that came from the peer.
        bytes_received: u64,
        /// Bytes of SSH that went to the peer.
        bytes_sent: u64,
        /// How long it lasted, in milliseconds.
        duration_ms: u64,
    },
    /// Records were lost before this one: more came than could be written, or
    /// the file did not take them.
    Dropped {
        /// The number of records lost.
        count: u64,
        /// When the first of them was lost, written as `time`.
        since: String,
        /// When the last of them was lost.
        until: String,
    },
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditVerdict {
    /// It was allowed.
    Granted,
    /// It was forbidden.
    Denied,
    /// It was allowed and did not work.
    Failed,
}
