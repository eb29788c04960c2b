//! Periodic upkeep: staging directory, unused library copies, memory given
//! back to the system.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alknet_loader::{Generation, memory};

use super::swap::Swapper;
use crate::state::last_logins;

/// The interval of the upkeep.
const PACE: Duration = Duration::from_secs(1);
/// The time after which memory is given back, counted from the reason for it:
/// connections that end together have ended by then.
const SETTLING: Duration = Duration::from_secs(2);
/// The number of ended connections that is a reason to give memory back; half
/// of all connections is one, too.
const MANY: usize = 64;

/// Keeps what a node needs in place, and gives back what it needs no more: the
/// staging directory is made again where somebody removed it, copies of libraries
/// that nobody uses go, and memory is given back after a crowd has left and
/// when a version has ended.
pub(crate) async fn upkeep(swapper: Arc<Swapper>) {
    let mut trimming = Trimming::default();
    loop {
        tokio::time::sleep(PACE).await;
        let live = swapper.registry.live();
        let connections = live.iter().map(|one| one.connections()).sum();
        let generations = live.iter().map(|one| one.id).collect();
        drop(live);
        let trim = trimming.is_due(connections, generations, Instant::now());
        let swapper = Arc::clone(&swapper);
        let done = tokio::task::spawn_blocking(move || {
            match swapper.libraries.restore_staging() {
                Ok(true) => tracing::warn!("the staging directory was gone; it is made again"),
                Ok(false) => {}
                Err(refusal) => tracing::debug!("the staging directory is gone: {refusal}"),
            }
            swapper.libraries.release_unused();
            last_logins::save();
            if trim {
                page_out_replaced(&swapper);
                memory::trim();
            }
        });
        let _ = done.await;
    }
}

/// Gives back the memory of replaced versions' code that their remaining
/// connections do not use.
fn page_out_replaced(swapper: &Swapper) {
    let serving = swapper.registry.generations();
    let serves = |one: &Generation| serving.iter().any(|other| other.digest == one.digest);
    let live = swapper.registry.live();
    let replaced = live.iter().filter(|one| !serves(one));
    replaced.for_each(|one| one.library.page_out());
}

/// Decides when memory is to be given back.
#[derive(Default)]
struct Trimming {
    /// The most connections there were since memory was given back last.
    most: usize,
    generations: Vec<u64>,
    due: Option<Instant>,
}

impl Trimming {
    fn is_due(&mut self, connections: usize, generations: Vec<u64>, now: Instant) -> bool {
        self.most = self.most.max(connections);
        let left = self.most - connections;
        let crowd_left = left >= MANY || (left > 0 && left >= connections);
        if crowd_left || self.generations != generations {
            self.generations = generations;
            self.due.get_or_insert(now + SETTLING);
        }
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            (self.due, self.most) = (None, connections);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_a_crowd_and_after_a_version() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trimming = Trimming::default();
        assert!(!trimming.is_due(0, vec![1], at(0)));
        assert!(trimming.is_due(0, vec![1], at(2)), "it has started");
        assert!(!trimming.is_due(2000, vec![1], at(3)));
        assert!(!trimming.is_due(1990, vec![1], at(9)), "a few come and go");
        assert!(!trimming.is_due(0, vec![1], at(10)));
        assert!(trimming.is_due(0, vec![1], at(12)), "a crowd has left");
        assert!(!trimming.is_due(0, vec![1], at(20)), "once");
        assert!(!trimming.is_due(0, vec![2], at(21)));
        assert!(trimming.is_due(0, vec![2], at(23)), "a version has ended");
        assert!(!trimming.is_due(12, vec![2], at(30)));
        assert!(!trimming.is_due(8, vec![2], at(39)), "a third has left");
        assert!(!trimming.is_due(6, vec![2], at(40)));
        assert!(
            trimming.is_due(6, vec![2], at(42)),
            "half of a few has left"
        );
    }
}
