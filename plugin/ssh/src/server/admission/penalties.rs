//! Penalties for addresses that misbehaved (`PerSourcePenalties`,
//! sshd_config(5)).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use alknet_ssh_config::Penalties as Config;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::source::Source;

/// Addresses that misbehaved, with the time until which that counts.
#[derive(Default)]
pub(super) struct Penalties {
    by_source: HashMap<Source, Penalty>,
    /// The same penalties ordered by their end.
    ends: BTreeSet<(Instant, Source)>,
}

#[derive(Clone, Copy)]
struct Penalty {
    until: Instant,
    /// Whether it has grown to the least for which an address is refused.
    refuses: bool,
}

/// The offences that an address is penalised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Offence {
    /// Attempts to log in failed.
    AuthFailed,
    /// No attempt was made.
    NoAuth,
    /// The time to log in was used up.
    GraceExceeded,
}

impl Offence {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AuthFailed => "authfail",
            Self::NoAuth => "noauth",
            Self::GraceExceeded => "grace-exceeded",
        }
    }

    fn seconds(self, config: &Config) -> u32 {
        match self {
            Self::AuthFailed => config.authfail_seconds,
            Self::NoAuth => config.noauth_seconds,
            Self::GraceExceeded => config.grace_exceeded_seconds,
        }
    }
}

impl Penalties {
    /// Whether connections from there are refused.
    pub(super) fn refuses(&self, source: Source, now: Instant) -> bool {
        let penalty = self.by_source.get(&source);
        penalty.is_some_and(|penalty| penalty.refuses && penalty.until > now)
    }

    /// Adds to the penalty of an address. Gives the time for which it is
    /// refused, if that begins now.
    pub(super) fn add(
        &mut self,
        source: Source,
        offence: Offence,
        config: &Config,
        now: Instant,
    ) -> Option<Duration> {
        let seconds = offence.seconds(config);
        if seconds == 0 {
            return None;
        }
        self.forget_past(now);
        let before = self.remove(source);
        let refused = before.is_some_and(|before| before.refuses);
        let until = before.map_or(now, |before| before.until);
        let most = now + Duration::from_secs(config.max_seconds.into());
        let until = (until + Duration::from_secs(seconds.into())).min(most);
        let refuses = refused || until - now >= Duration::from_secs(config.min_seconds.into());
        self.insert(source, Penalty { until, refuses }, config);
        (refuses && !refused).then(|| until - now)
    }

    /// The addresses that are refused, and for how long.
    pub(super) fn refused(&self, now: Instant) -> Vec<(Source, Duration)> {
        let ends = self.ends.iter().rev();
        ends.take_while(|(until, _)| *until > now)
            .filter(|(_, source)| self.refuses(*source, now))
            .map(|(until, source)| (*source, *until - now))
            .collect()
    }

    pub(super) fn to_json(&self, now: Instant) -> Value {
        let all = self.by_source.iter();
        all.filter(|(_, penalty)| penalty.until > now)
            .map(|(source, penalty)| {
                json!({
                    "source": source.to_string(),
                    "seconds": whole_seconds(penalty.until - now),
                    "refuses": penalty.refuses,
                })
            })
            .collect()
    }

    /// Adds what [`to_json`](Self::to_json) told; of two penalties the longer
    /// counts.
    pub(super) fn extend(&mut self, told: &Value, config: &Config, now: Instant) {
        for told in told.as_array().into_iter().flatten() {
            let source = told.get("source").and_then(Value::as_str);
            let seconds = told.get("seconds").and_then(Value::as_u64);
            let (Some(Ok(source)), Some(seconds)) = (source.map(str::parse), seconds) else {
                continue;
            };
            let seconds = seconds.min(config.max_seconds.into());
            let told = Penalty {
                until: now + Duration::from_secs(seconds),
                refuses: told.get("refuses").and_then(Value::as_bool) == Some(true),
            };
            let longer = match self.remove(source) {
                Some(own) if own.until >= told.until => own,
                _ => told,
            };
            self.insert(source, longer, config);
        }
    }

    fn insert(&mut self, source: Source, penalty: Penalty, config: &Config) {
        while self.by_source.len() >= config.max_sources as usize {
            let Some((_, first)) = self.ends.pop_first() else {
                break;
            };
            self.by_source.remove(&first);
        }
        self.by_source.insert(source, penalty);
        self.ends.insert((penalty.until, source));
    }

    fn remove(&mut self, source: Source) -> Option<Penalty> {
        let penalty = self.by_source.remove(&source)?;
        self.ends.remove(&(penalty.until, source));
        Some(penalty)
    }

    fn forget_past(&mut self, now: Instant) {
        while let Some((until, source)) = self.ends.first().copied()
            && until <= now
        {
            self.remove(source);
        }
    }
}

/// Seconds, rounded up: what is left of a penalty is never told as nothing.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn penalties_add_up_and_refuse_from_the_least_to_the_most() {
        let config = Config::default();
        let start = Instant::now();
        let mut penalties = Penalties::default();
        let mut fail = |at| penalties.add(source(1), Offence::AuthFailed, &config, at);
        assert_eq!(fail(start), None);
        assert_eq!(fail(start), None);
        assert_eq!(fail(start), Some(Duration::from_secs(15)));
        assert_eq!(fail(start), None, "it is refused already");
        assert!(penalties.refuses(source(1), after(start, 19)));
        assert!(!penalties.refuses(source(1), after(start, 20)));
        assert!(!penalties.refuses(source(2), start));

        for _ in 0..1000 {
            penalties.add(source(1), Offence::GraceExceeded, &config, start);
        }
        assert!(penalties.refuses(source(1), after(start, 599)));
        assert!(!penalties.refuses(source(1), after(start, 600)));
    }

    #[test]
    fn what_is_over_counts_no_more() {
        let config = Config::default();
        let start = Instant::now();
        let mut penalties = Penalties::default();
        for time in [0, 6, 12, 18, 24] {
            let at = after(start, time);
            assert_eq!(
                penalties.add(source(1), Offence::AuthFailed, &config, at),
                None
            );
        }
        assert!(penalties.refused(after(start, 24)).is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_what_ends_first_makes_room() {
        let config = Config {
            max_sources: 3,
            min_seconds: 1,
            ..Config::default()
        };
        let now = Instant::now();
        let mut penalties = Penalties::default();
        penalties.add(source(1), Offence::NoAuth, &config, now);
        for last in 2..=4 {
            penalties.add(source(last), Offence::GraceExceeded, &config, now);
        }
        assert_eq!(penalties.by_source.len(), 3);
        assert_eq!(penalties.ends.len(), 3);
        assert!(!penalties.refuses(source(1), now));
        assert!(penalties.refuses(source(4), now));
    }

    #[test]
    fn what_is_handed_over_is_taken_over() {
        let config = Config::default();
        let now = Instant::now();
        let mut before = Penalties::default();
        for _ in 0..2 {
            before.add(source(1), Offence::GraceExceeded, &config, now);
        }
        before.add(source(2), Offence::NoAuth, &config, now);
        let mut after = Penalties::default();
        after.extend(&before.to_json(now), &config, now);
        after.extend(
            &json!([{ "source": "x" }, 1, { "seconds": 3 }]),
            &config,
            now,
        );
        assert_eq!(after.refused(now), before.refused(now));
        assert_eq!(after.by_source.len(), 2);
    }
}
