//! Waiting for a condition, with a guard against hanging.

use std::time::{Duration, Instant};

use crate::HANG;

/// Waits until `probe` gives something; panics, naming `what`, if it never
/// does.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "this never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
