//! The metrics of the program that is asked who a peer is.

use alknet_lookup::{LookupStatus, ProgramState};

use super::text::{Kind, Number, Page, sample};

/// Adds them to a page.
pub(super) fn collect(page: &mut Page, status: &LookupStatus) {
    let whole = |number: u64| Number::Whole(number);
    for (name, help, value) in [
        (
            "alknet_lookup_up",
            "Whether the look-up program runs: 1 or 0.",
            u64::from(status.state == ProgramState::Running),
        ),
        (
            "alknet_lookup_outage_seconds",
            "Seconds since which the look-up program answers no question; 0 while it does.",
            status.outage_seconds.unwrap_or_default(),
        ),
        (
            "alknet_lookup_refuses_log_ins",
            "Whether that has lasted too long for remembered identities: 1 or 0.",
            u64::from(status.refuses_log_ins),
        ),
    ] {
        page.add_one(name, Kind::Gauge, help, whole(value));
    }
    page.add_one(
        "alknet_lookup_restarts_total",
        Kind::Counter,
        "How often the look-up program was started again.",
        whole(status.restarts),
    );
    let by = |label: &'static str, numbers: &[(&'static str, u64)]| {
        let each = numbers.iter();
        each.map(|(name, number)| sample([(label, *name)], whole(*number)))
            .collect::<Vec<_>>()
    };
    page.add(
        "alknet_lookup_questions_total",
        Kind::Counter,
        "Questions that the look-up program was asked, by what became of them.",
        by(
            "result",
            &[
                ("found", status.found),
                ("unknown", status.unknown),
                ("failed", status.failed),
                ("invalid", status.invalid),
            ],
        ),
    );
    page.add(
        "alknet_lookup_remembered_total",
        Kind::Counter,
        "Questions answered from what is remembered, fresh or stale in an outage.",
        by(
            "age",
            &[
                ("fresh", status.remembered.saturating_sub(status.stale)),
                ("stale", status.stale),
            ],
        ),
    );
    page.add(
        "alknet_lookup_cached",
        Kind::Gauge,
        "Answers that are remembered: identities, and keys of nobody.",
        by(
            "kind",
            &[
                ("identity", status.cached_identities as u64),
                ("unknown", status.cached_unknown as u64),
            ],
        ),
    );
}
