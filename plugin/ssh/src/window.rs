//! How much a client may send, from the server's view of its channels.
//!
//! russh grants a channel its window back as soon as data arrives, whether or
//! not anybody has consumed it. It asks only how large the window shall be,
//! keeps one answer for the whole connection, and uses it the next time a
//! packet comes for a channel that has less than half of it left, whichever
//! channel that is. Nothing can be granted at any other time.
//!
//! While a channel is full (it holds too much that was not consumed) the
//! answer is therefore next to nothing: the peer then sends a few bytes at a
//! time on it, and each of them asks anew. Between two such questions a larger
//! answer tops up the windows of the channels that are not full. Nothing is
//! blocked meanwhile; in particular the peer's own grants are still read,
//! without which a command that writes as it reads would never come to read
//! again.

use std::collections::HashMap;
use std::time::Duration;

use russh::ChannelId;

use crate::queue::{Budget, ByteQueue};

/// The window of a full channel.
const TRICKLE: u32 = 16;
/// How long such a trickle is held, so that it does not turn into a busy loop:
/// at first, and once nothing has been consumed for a while.
const SHORT_PAUSE: Duration = Duration::from_micros(500);
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// A connection that moves more than this between two trickles is busy
/// enough without a pause, and would suffer from one.
const BUSY: u64 = 4096;
/// The least window that is divided among channels.
const LEAST: u32 = 1 << 10;
/// Packets of the whole connection after which a channel that sent none of
/// them counts as idle.
const RECENT: u64 = 512;

/// The windows of one SSH connection.
#[derive(Debug)]
pub(crate) struct Windows {
    window: u32,
    queue_limit: usize,
    budget: Budget,
    channels: HashMap<ChannelId, Channel>,
    /// Data packets received so far.
    packets: u64,
}

#[derive(Debug)]
struct Channel {
    queue: ByteQueue,
    /// What the peer may still send.
    window: u32,
    /// What it could send before the packet that is being looked at, if that
    /// packet was answered with a grant.
    before_grant: Option<u32>,
    /// The number of its last packet.
    last_packet: u64,
    pause: Duration,
    taken: u64,
    /// What the connection had moved at the last trickle.
    moved: u64,
}

/// What to do before the next packet is looked at.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing.
    GoOn,
    /// Wait a moment, or until there is room.
    Pause(ByteQueue, Duration),
    /// Wait until queues have been emptied: everything is full.
    Hold(Budget),
    /// The peer sent more than it may.
    Violation,
}

impl Windows {
    /// `window` is what a channel is granted at first, and at most;
    /// `queue_limit` what its queue may hold before it is full.
    pub(crate) fn new(window: u32, queue_limit: usize, budget: Budget) -> Self {
        Self {
            window,
            queue_limit,
            budget,
            channels: HashMap::new(),
            packets: 0,
        }
    }

    /// The queue for a channel's data; made at the first call.
    pub(crate) fn open(&mut self, id: ChannelId) -> ByteQueue {
        self.channels.retain(|_, channel| !channel.queue.is_over());
        let channel = self.channels.entry(id).or_insert_with(|| Channel {
            queue: ByteQueue::new(self.queue_limit, self.budget.clone()),
            window: self.window,
            before_grant: None,
            last_packet: 0,
            pause: SHORT_PAUSE,
            taken: 0,
            moved: 0,
        });
        channel.queue.clone()
    }

    /// A packet has come for the channel and its window was raised to
    /// `granted`. What the next channel that is asked about shall have.
    pub(crate) fn granted(&mut self, id: ChannelId, granted: u32) -> u32 {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.before_grant = Some(channel.window);
            channel.window = granted;
        }
        let share = self.share();
        if !self.channels.values().any(Channel::is_full) {
            return share;
        }
        // A full channel that has just been granted its trickle is not heard of
        // before a round trip; who is sending right now is, and comes first.
        let wanting = |channel: &Channel| {
            !channel.is_full() && channel.window < share / 2 && self.is_sending(channel)
        };
        if !self.budget.is_exhausted() && self.channels.values().any(wanting) {
            share
        } else {
            TRICKLE
        }
    }

    /// Takes note of `length` bytes that came for a channel; `moved` grows
    /// with everything the connection carries.
    pub(crate) fn received(&mut self, id: ChannelId, length: usize, moved: u64) -> Next {
        self.packets += 1;
        let Some(channel) = self.channels.get_mut(&id) else {
            return Next::GoOn;
        };
        channel.last_packet = self.packets;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let before = channel.before_grant.take().unwrap_or_else(|| {
            let before = channel.window;
            channel.window = before.saturating_sub(length);
            before
        });
        if length > before {
            return Next::Violation;
        }
        if self.budget.is_exceeded() {
            return Next::Hold(self.budget.clone());
        }
        if length > TRICKLE || !channel.is_full() {
            return Next::GoOn;
        }
        let busy = moved.wrapping_sub(channel.moved) > BUSY;
        channel.moved = moved;
        if busy {
            return Next::GoOn;
        }
        let taken = channel.queue.taken();
        channel.pause = if taken == channel.taken {
            (channel.pause * 2).min(LONG_PAUSE)
        } else {
            SHORT_PAUSE
        };
        channel.taken = taken;
        Next::Pause(channel.queue.clone(), channel.pause)
    }

    /// The window for each channel.
    ///
    /// The more channels are sending, the smaller: while new keys are agreed on
    /// russh takes twice one initial window of data from the whole connection
    /// and then gives up, so that all these windows together stay below that,
    /// with room for what one channel had been granted before there were others.
    fn share(&self) -> u32 {
        let sending = self
            .channels
            .values()
            .filter(|channel| self.is_sending(channel));
        match u32::try_from(sending.count()).unwrap_or(u32::MAX) {
            0 | 1 => self.window,
            sending => (self.window / 4 * 3 / sending).max(LEAST),
        }
    }

    fn is_sending(&self, channel: &Channel) -> bool {
        channel.last_packet > 0
            && self.packets - channel.last_packet < RECENT
            && !channel.queue.is_over()
    }
}

impl Channel {
    fn is_full(&self) -> bool {
        !self.queue.has_room()
    }
}

impl Next {
    /// Lets the pause pass, or ends it early when there is room again. Fails
    /// when the peer sent more than it may.
    pub(crate) async fn wait(self) -> Result<(), Violation> {
        match self {
            Self::GoOn => {}
            Self::Pause(queue, duration) => {
                tokio::select! {
                    () = queue.room() => {}
                    () = tokio::time::sleep(duration) => {}
                }
            }
            Self::Hold(budget) => budget.relieved().await,
            Self::Violation => return Err(Violation),
        }
        Ok(())
    }
}

/// The peer sent more than its window allowed (RFC 4254 section 5.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation;
