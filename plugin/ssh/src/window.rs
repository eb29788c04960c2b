//! How much a client may send, from the server's view of its channels.
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
/// How long such a trickle is held, so that it does not turn into a busy loop:
/// at first, and once nothing has been consumed for a while.
const SHORT_PAUSE: Duration = Duration::from_micros(500);
const LONG_PAUSE: Duration = Duration::from_millis(20);
/// The least window that is divided among channels.
const LEAST: u32 = 1 << 10;

/// The windows of one SSH connection.
#[derive(Debug)]
pub(crate) struct Windows {
    window: u32,
    channels: HashMap<ChannelId, Channel>,
}

#[derive(Debug)]
struct Channel {
    queues: Vec<ByteQueue>,
    /// The last pause, and what had been consumed then.
    pause: Duration,
    taken: u64,
}

/// What to wait for before the next packet is looked at.
#[derive(Debug)]
pub(crate) struct Pause {
    queue: ByteQueue,
    duration: Duration,
}

impl Windows {
    /// `window` is what a channel is granted at first, and at most.
    pub(crate) fn new(window: u32) -> Self {
        Self {
            window,
            channels: HashMap::new(),
        }
    }

    /// A channel has opened; its data goes into these queues.
    pub(crate) fn opened(&mut self, id: ChannelId, queues: Vec<ByteQueue>) {
        self.channels.retain(|_, channel| !channel.is_over());
        let channel = Channel {
            queues,
            pause: SHORT_PAUSE,
            taken: 0,
        };
        self.channels.insert(id, channel);
    }

    /// The window after data came for a channel.
    ///
    /// The more channels, the smaller: while new keys are agreed on russh takes
    /// twice one initial window of data from the whole connection and then
    /// gives up, so that all windows together stay below that, with room for
    /// what one channel had been granted before there were others.
    pub(crate) fn target(&self, id: ChannelId) -> u32 {
        let Some(channel) = self.channels.get(&id) else {
            return self.window;
        };
        if channel.full().is_some() {
            return TRICKLE;
        }
        let open = self.channels.values().filter(|channel| !channel.is_over());
        match u32::try_from(open.count()).unwrap_or(u32::MAX) {
            0 | 1 => self.window,
            open => (self.window / 4 * 3 / open).max(LEAST),
        }
    }

    /// The pause to make after `length` bytes came for a channel, if any.
    pub(crate) fn pause(&mut self, id: ChannelId, length: usize) -> Option<Pause> {
        if length > TRICKLE as usize {
            return None;
        }
        let channel = self.channels.get_mut(&id)?;
        let queue = channel.full()?.clone();
        let taken = queue.taken();
        channel.pause = if taken == channel.taken {
            (channel.pause * 2).min(LONG_PAUSE)
        } else {
            SHORT_PAUSE
        };
        channel.taken = taken;
        Some(Pause {
            queue,
            duration: channel.pause,
        })
    }
}

impl Channel {
    fn full(&self) -> Option<&ByteQueue> {
        self.queues.iter().find(|queue| !queue.has_room())
    }

    fn is_over(&self) -> bool {
        self.queues.iter().all(ByteQueue::is_over)
    }
}

impl Pause {
    /// Lets it pass, or ends it early when there is room again.
    pub(crate) async fn wait(self) {
        tokio::select! {
            () = self.queue.room() => {}
            () = tokio::time::sleep(self.duration) => {}
        }
    }
}
