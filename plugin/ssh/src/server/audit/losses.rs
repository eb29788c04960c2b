//! The count of records that were lost, until it is noted in the file.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use alknet_ssh_config::{AuditEvent, AuditRecord};

use super::time::{self, now};

/// Records that were lost and are not yet noted in the file.
#[derive(Default)]
pub(super) struct Losses(Mutex<Option<Loss>>);

/// A number of records that were lost in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) count: u64,
    since: SystemTime,
    until: SystemTime,
}

impl Losses {
    /// Adds `count` records that are lost now.
    pub(super) fn add(&self, count: u64) {
        let now = SystemTime::now();
        self.put_back(Loss {
            count,
            since: now,
            until: now,
        });
    }

    /// Takes the loss that is to be noted; it counts as noted from now on.
    pub(super) fn take(&self) -> Option<Loss> {
        self.state().take()
    }

    /// Puts a loss back that could not be noted.
    pub(super) fn put_back(&self, loss: Loss) {
        if loss.count == 0 {
            return;
        }
        let mut state = self.state();
        *state = Some(match *state {
            None => loss,
            Some(more) => Loss {
                count: loss.count.saturating_add(more.count),
                since: loss.since.min(more.since),
                until: loss.until.max(more.until),
            },
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().is_none()
    }

    fn state(&self) -> MutexGuard<'_, Option<Loss>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loss {
    /// The record that notes it.
    pub(super) fn record(&self) -> AuditRecord {
        AuditRecord {
            time: now(),
            generation: 0,
            session: 0,
            remote_addr: None,
            identity: None,
            event: AuditEvent::Dropped {
                count: self.count,
                since: time::text(self.since),
                until: time::text(self.until),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_was_not_noted_is_added_to_the_next() {
        let losses = Losses::default();
        losses.add(2);
        let first = losses.take().unwrap();
        assert!(losses.is_empty());
        losses.add(3);
        losses.put_back(first);
        let both = losses.take().unwrap();
        assert_eq!((both.count, both.since), (5, first.since));
        assert!(both.until >= first.until);
    }
}
