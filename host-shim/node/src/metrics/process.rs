//! The process as the kernel sees it (proc(5)), under the names that all
//! Prometheus clients use.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::text::{Kind, Number, Page};

static STARTED: OnceLock<SystemTime> = OnceLock::new();

/// Takes note of the time; at the start of the node.
pub(super) fn started() {
    STARTED.get_or_init(SystemTime::now);
}

pub(super) fn collect(page: &mut Page) {
    if let Some(started) = STARTED
        .get()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
    {
        page.add_one(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the node started, in seconds since 1970.",
            Number::Real(started.as_secs_f64()),
        );
    }
    if let Some((size, resident)) = memory() {
        page.add_one(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Address space of the node.",
            Number::Whole(size),
        );
        page.add_one(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory of the node, its plugins included.",
            Number::Whole(resident),
        );
    }
    if let Some(seconds) = processor_seconds() {
        page.add_one(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time of the node, its plugins included.",
            Number::Real(seconds),
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.add_one(
            "process_open_fds",
            Kind::Gauge,
            "Open file descriptors.",
            Number::Whole(open.count() as u64),
        );
    }
}

fn memory() -> Option<(u64, u64)> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let page = rustix::param::page_size() as u64;
    let mut pages = statm.split(' ').map(|count| count.parse::<u64>().ok());
    Some((pages.next()?? * page, pages.next()?? * page))
}

fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may have spaces and parentheses of its own.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
}
