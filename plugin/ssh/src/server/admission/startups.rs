//! The number of connections without a log-in, and the random drop beyond it
//! (`MaxStartups`, sshd_config(5)).

use std::collections::HashMap;

use alknet_ssh_config::MaxStartups;

use super::source::Source;
use crate::server::metrics::AdmissionError;

/// The connections on which nobody has logged in yet.
#[derive(Default)]
pub(super) struct Startups {
    total: usize,
    by_source: HashMap<Source, usize>,
}

impl Startups {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Counts one more, unless there are too many. `percentile`, a random
    /// number from 0 to 99, decides where only some are dropped.
    pub(super) fn begin(
        &mut self,
        source: Option<Source>,
        exempt: bool,
        limits: &MaxStartups,
        percentile: u32,
    ) -> Result<(), AdmissionError> {
        let of_source = source.and_then(|source| self.by_source.get(&source));
        let of_source = of_source.copied().unwrap_or_default();
        let most = limits.per_source as usize;
        if most > 0 && !exempt && of_source >= most {
            return Err(AdmissionError::Source);
        }
        if percentile < dropped_percent(self.total, limits) {
            return Err(AdmissionError::Startups);
        }
        self.total += 1;
        if let Some(source) = source {
            *self.by_source.entry(source).or_default() += 1;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, source: Option<Source>) {
        self.total = self.total.saturating_sub(1);
        let Some(source) = source else { return };
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// The percentage of new connections that are dropped with `total` there.
fn dropped_percent(total: usize, limits: &MaxStartups) -> u32 {
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    if total < limits.start {
        return 0;
    }
    if total >= limits.full {
        return 100;
    }
    let beyond = u64::from(total - limits.start);
    let span = u64::from(limits.full - limits.start).max(1);
    let rest = u64::from(100 - limits.rate.min(100));
    limits.rate + u32::try_from(rest * beyond / span).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MaxStartups = MaxStartups {
        start: 10,
        rate: 30,
        full: 100,
        per_source: 20,
    };

    #[test]
    fn the_share_that_is_dropped_rises_from_the_rate_to_all() {
        for (total, percent) in [(0, 0), (9, 0), (10, 30), (55, 65), (99, 99), (100, 100)] {
            assert_eq!(dropped_percent(total, &LIMITS), percent, "{total}");
        }
        let at_once = MaxStartups { full: 10, ..LIMITS };
        assert_eq!(dropped_percent(10, &at_once), 100);
    }

    #[test]
    fn one_address_has_its_own_bound_and_what_ended_counts_no_more() {
        let here = Some(Source::of("192.0.2.1".parse().unwrap()));
        let there = Some(Source::of("192.0.2.2".parse().unwrap()));
        let limits = MaxStartups {
            start: 1000,
            full: 1000,
            ..LIMITS
        };
        let mut startups = Startups::default();
        for _ in 0..20 {
            startups.begin(here, false, &limits, 0).unwrap();
        }
        assert_eq!(
            startups.begin(here, false, &limits, 0),
            Err(AdmissionError::Source)
        );
        startups.begin(here, true, &limits, 0).unwrap();
        startups.begin(there, false, &limits, 0).unwrap();
        assert_eq!(startups.total(), 22);
        for _ in 0..21 {
            startups.end(here);
        }
        startups.end(there);
        assert_eq!((startups.total(), startups.by_source.len()), (0, 0));
    }
}
