//! What the program has answered, for as long as it counts.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use alknet_handler::Identity;
use lru::LruCache;
use tokio::time::Instant;

use crate::config::LookupConfig;
use crate::question::Question;

/// Answers by question. Identities and unknown ones are bounded apart, so that
/// keys nobody knows push no identity out.
pub(crate) struct Cache {
    found: LruCache<Question, Found>,
    unknown: LruCache<Question, Instant>,
    found_for: Duration,
    unknown_for: Duration,
}

struct Found {
    identity: Arc<Identity>,
    since: Instant,
}

/// What is remembered of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// An answer that counts.
    Fresh(Option<Arc<Identity>>),
    /// An identity that is to be asked about again.
    Old(Arc<Identity>),
    Nothing,
}

impl Cache {
    pub(crate) fn new(config: &LookupConfig) -> Self {
        let most = NonZeroUsize::new(config.cache_entries as usize).unwrap_or(NonZeroUsize::MIN);
        Self {
            found: LruCache::new(most),
            unknown: LruCache::new(most),
            found_for: config.cache(),
            unknown_for: config.negative_cache(),
        }
    }

    pub(crate) fn get(&mut self, question: &Question, now: Instant) -> Remembered {
        if let Some(found) = self.found.get(question) {
            let identity = Arc::clone(&found.identity);
            return match now.saturating_duration_since(found.since) < self.found_for {
                true => Remembered::Fresh(Some(identity)),
                false => Remembered::Old(identity),
            };
        }
        match self.unknown.get(question) {
            Some(since) if now.saturating_duration_since(*since) < self.unknown_for => {
                Remembered::Fresh(None)
            }
            _ => Remembered::Nothing,
        }
    }

    /// Remembers an answer. Gives the identity that was remembered before.
    pub(crate) fn put(
        &mut self,
        question: &Question,
        identity: Option<Arc<Identity>>,
        now: Instant,
    ) -> Option<Arc<Identity>> {
        match identity {
            Some(identity) => {
                self.unknown.pop(question);
                let found = Found {
                    identity,
                    since: now,
                };
                let before = self.found.put(question.clone(), found);
                before.map(|before| before.identity)
            }
            None => {
                self.unknown.put(question.clone(), now);
                self.forget(question)
            }
        }
    }

    /// Forgets an identity. Gives it.
    pub(crate) fn forget(&mut self, question: &Question) -> Option<Arc<Identity>> {
        self.found.pop(question).map(|found| found.identity)
    }

    /// The identities that are to be asked about again, each with the time for
    /// which that has been so.
    pub(crate) fn due(&self, now: Instant) -> Vec<(Question, Arc<Identity>, Duration)> {
        let each = self.found.iter().filter_map(|(question, found)| {
            let age = now.saturating_duration_since(found.since);
            let over = age.checked_sub(self.found_for)?;
            Some((question.clone(), Arc::clone(&found.identity), over))
        });
        each.collect()
    }

    /// How many identities and how many unknown ones are remembered.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.found.len(), self.unknown.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cache_entries: u32) -> LookupConfig {
        let json = serde_json::json!({"command": ["/bin/x"], "cache_entries": cache_entries});
        serde_json::from_value(json).unwrap()
    }

    fn key(number: u32) -> Question {
        Question::Fingerprint(format!("SHA256:{number}"))
    }

    fn identity(id: &str) -> Arc<Identity> {
        Arc::new(Identity {
            id: id.to_owned(),
            ..Identity::default()
        })
    }

    #[test]
    fn answers_count_for_their_time() {
        let mut cache = Cache::new(&config(10));
        let (start, ann) = (Instant::now(), identity("ann"));
        let after = |seconds| start + Duration::from_secs(seconds);
        cache.put(&key(1), Some(ann.clone()), start);
        cache.put(&key(2), None, start);
        assert_eq!(
            cache.get(&key(1), after(59)),
            Remembered::Fresh(Some(ann.clone()))
        );
        assert_eq!(cache.get(&key(1), after(60)), Remembered::Old(ann.clone()));
        assert_eq!(cache.get(&key(2), after(9)), Remembered::Fresh(None));
        assert_eq!(cache.get(&key(2), after(10)), Remembered::Nothing);
        assert_eq!(cache.get(&key(3), start), Remembered::Nothing);
        let due = cache.due(after(61));
        assert_eq!(due, [(key(1), ann.clone(), Duration::from_secs(1))]);
        assert_eq!(cache.put(&key(1), None, after(61)), Some(ann));
        assert_eq!(cache.get(&key(1), after(61)), Remembered::Fresh(None));
    }

    #[test]
    fn unknown_keys_push_no_identity_out() {
        let mut cache = Cache::new(&config(2));
        let now = Instant::now();
        cache.put(&key(0), Some(identity("ann")), now);
        for number in 1..100 {
            cache.put(&key(number), None, now);
        }
        assert_eq!(cache.sizes(), (1, 2));
        assert!(matches!(
            cache.get(&key(0), now),
            Remembered::Fresh(Some(_))
        ));
        for number in 1..100 {
            cache.put(&key(number), Some(identity("bob")), now);
        }
        assert_eq!(cache.sizes().0, 2);
    }
}
