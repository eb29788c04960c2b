//! The daemon: start, reload, stop, and what it reports.

mod admin;
mod audit;
mod broken_configs;
mod completions;
mod decisions;
mod fail2ban;
mod invariants;
mod life;
mod metrics;
mod packaging;
mod reload;
mod rings;
mod samples;
mod stalled_log;
mod terminal_width;
mod words;
