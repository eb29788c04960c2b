//! The pauses between attempts to connect again: doubling, with jitter.

use std::time::Duration;

/// The pauses before a lost connection is made again: 1, 2, 4 … 30 s, each
/// shortened by up to a half, so that many clients of one node do not come back
/// all at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

const LONGEST: Duration = Duration::from_secs(30);

impl Backoff {
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let whole = Duration::from_secs(1 << self.tries.min(5)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..8).map(|_| backoff.next(0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30, 30]);
        let mut backoff = Backoff::default();
        let shortest = backoff.next(u32::MAX);
        assert_eq!(shortest, Duration::from_millis(500));
    }
}
