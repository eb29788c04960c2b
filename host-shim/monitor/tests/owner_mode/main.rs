//! The monitor in owner mode: a real one, started by this program, whose peers'
//! processes are real. Those of guests run this program again as an attacker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod attack;
mod jobs;
mod support;
mod walls;

use std::process::ExitCode;

use alknet_monitor::{MonitorConfig, SESSION_HELPER, session_helper, start_owner_mode};
use support::World;

type Test = fn(&World);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|word| word.to_str()) {
        Some(SESSION_HELPER) => return session_helper(arguments, support::enter),
        Some("attack") => return attack::attack(arguments),
        _ => {}
    }
    let root = tempfile::tempdir().unwrap();
    let world = World::new(root.path(), |private| {
        start_owner_mode(MonitorConfig {
            guest_homes: root.path().join("guests"),
            private,
            accounts: None,
        })
    });
    let filters: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let tests: Vec<(&str, Test)> = [jobs::TESTS, walls::TESTS].concat();
    let mut failed = false;
    for (name, test) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let passed = std::panic::catch_unwind(|| test(&world)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    ExitCode::from(u8::from(failed))
}
