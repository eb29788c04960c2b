//! A limit on log lines that anybody can cause.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most log lines of one kind that are written in any [`EVERY`].
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(1);

/// Keeps a log line that anybody can cause from filling the log.
#[derive(Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the lines allowed began to be counted, and their number.
    window: Option<(Instant, u32)>,
    left_out: u64,
}

impl Throttle {
    /// Returns, if the line may be written, how many were left out since the
    /// last one.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, lines) = match state.window {
            Some((since, lines)) if now < since + EVERY => (since, lines),
            _ => (now, 0),
        };
        if lines >= BURST {
            state.left_out += 1;
            return None;
        }
        state.window = Some((since, lines + 1));
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_its_size_told_afterwards() {
        let throttle = Throttle::default();
        let passed = (0..1000).filter(|_| throttle.pass().is_some()).count();
        assert_eq!(passed, BURST as usize);
        tokio::time::advance(EVERY).await;
        assert_eq!(throttle.pass(), Some(1000 - u64::from(BURST)));
        assert_eq!(throttle.pass(), Some(0));
    }
}
