//! How much a peer may send, from one end's view of its channels.
//!
//! russh grants a channel its window back as soon as data arrives, whether or
//! not anybody has consumed it, and asks only how large the window shall be,
//! one answer for the whole connection. While a channel holds too much that
//! was not consumed, the answer is next to nothing: the peer then sends a few
//! bytes at a time, and each of them asks anew. Nothing is blocked meanwhile;
//! in particular the peer's own grants are still read, without which a command
//! that writes as it reads would never come to read again.

use std::collections::HashMap;
use std::time::Duration;

use russh::ChannelId;

use crate::queue::ByteQueue;

/// The window while too much lies unconsumed.
const TRICKLE: u32 = 16;
/// How long such a trickle is held, so that it does not turn into a busy loop.
const PACE: Duration = Duration::from_millis(20);
/// The least window that is divided among channels.
const LEAST: u32 = 64 << 10;

/// The windows of one SSH connection.
#[derive(Debug)]
pub(crate) struct Windows {
    window: u32,
    queues: HashMap<ChannelId, Vec<ByteQueue>>,
}

impl Windows {
    /// `window` is what a channel is granted at first, and at most.
    pub(crate) fn new(window: u32) -> Self {
        Self {
            window,
            queues: HashMap::new(),
        }
    }

    /// A channel has opened; its data goes into these queues.
    pub(crate) fn opened(&mut self, channel: ChannelId, queues: Vec<ByteQueue>) {
        self.queues.retain(|_, queues| !ended(queues));
        self.queues.insert(channel, queues);
    }

    /// The window after data came for `channel`.
    ///
    /// The more channels, the smaller: while new keys are agreed on russh takes
    /// twice one initial window of data from the whole connection and then
    /// gives up, so that all windows together stay below that.
    pub(crate) fn target(&self, channel: ChannelId) -> u32 {
        let Some(queues) = self.queues.get(&channel) else {
            return self.window;
        };
        if !queues.iter().all(ByteQueue::has_room) {
            return TRICKLE;
        }
        let open = self.queues.values().filter(|queues| !ended(queues)).count();
        let open = u32::try_from(open).unwrap_or(u32::MAX).max(1);
        (self.window / 2 * 3 / open).clamp(self.window.min(LEAST), self.window)
    }

    /// What to wait for before the next packet is looked at, after `length`
    /// bytes came for `channel`.
    pub(crate) fn pace(&self, channel: ChannelId, length: usize) -> Option<ByteQueue> {
        if length > TRICKLE as usize {
            return None;
        }
        let full = |queue: &&ByteQueue| !queue.has_room();
        self.queues.get(&channel)?.iter().find(full).cloned()
    }
}

/// Lets a short while pass, or less if `queue` has room before.
pub(crate) async fn wait(queue: ByteQueue) {
    tokio::select! {
        () = queue.room() => {}
        () = tokio::time::sleep(PACE) => {}
    }
}

fn ended(queues: &[ByteQueue]) -> bool {
    queues.iter().all(ByteQueue::is_over)
}
