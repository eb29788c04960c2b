//! The time of audit records (RFC 3339, UTC).

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

/// The present time as records give it.
pub(super) fn now() -> String {
    text(SystemTime::now())
}

/// A time as records give it.
pub(super) fn text(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}
