use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

/// The time of a record.
pub(super) fn now() -> String {
    text(SystemTime::now())
}

/// As records tell times.
pub(super) fn text(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}
