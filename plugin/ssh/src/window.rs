//! How much a client may send, from the server's view of its channels.
//!
//! russh grants a channel its window back as soon as data arrives, whether or
//! not anybody has consumed it. It asks only how large the window shall be,
//! keeps one answer for the whole connection, and uses it the next time a
//! packet comes for a channel that has less than half of it left, whichever
//! channel that is. Nothing can be granted at any other time.
//!
//! A full channel (it holds too much that was not consumed) must not be
//! granted much, nor nothing: without a packet from it there is no other time
//! to grant it anything, and it would be stuck for good. So the answer becomes
//! next to nothing, the peer sends a few bytes at a time on that channel, and
//! each of them comes with a question. That makes a clock: after such a tick
//! the full channel is not heard of for a round trip, and the channels that
//! have something under way are. In that time the answer is a proper window,
//! until all of them are topped up; then it is next to nothing again before
//! the full channel's next packet comes.
//!
//! Nothing is blocked meanwhile; in particular the peer's own grants are still
//! read, without which a command that writes as it reads would never come to
//! read again. ADR 23 tells what was tried and measured.

use std::collections::HashMap;
use std::time::Duration;

use crate::queue::{Budget, ByteQueue};

/// The window of a full channel.
const TRICKLE: u32 = 16;
/// Trickles in a row after which a channel no longer waits for the clock: the
/// full channel's peer has nothing more to say.
const ALONE: u32 = 8;
/// How long a trickle is held on a connection that is quiet otherwise, so that
/// it does not turn into a busy loop: at first, and once nothing has been
/// consumed for a while.
const SHORT_PAUSE: Duration = Duration::from_micros(500);
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// Bytes moved between two trickles that make a connection busy. A pause would
/// hold them up.
const BUSY: u64 = 4096;
/// The least window that is divided among channels.
const LEAST: u32 = 1 << 10;
/// Packets of the whole connection after which a channel that sent none of
/// them counts as idle.
const RECENT: u64 = 512;
/// What a full channel may take of the room that is left, should a window that
/// was meant for another reach it.
const PART_OF_ROOM: usize = 128;

/// The windows of one SSH connection.
#[derive(Debug)]
pub(crate) struct Windows {
    window: u32,
    queue_limit: usize,
    budget: Budget,
    /// By the number of the channel.
    channels: HashMap<u32, Channel>,
    /// Data packets received so far.
    packets: u64,
    /// The number of the full channel's last trickle.
    tick: u64,
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
    /// The number of the packet that was answered with a trickle, if the last
    /// grant was one, and how many there were without a word from a full
    /// channel.
    trickle: Option<u64>,
    alone: u32,
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
            tick: 0,
        }
    }

    /// The queue for a channel's data; made at the first call.
    pub(crate) fn open(&mut self, id: u32) -> ByteQueue {
        self.channels.retain(|_, channel| !channel.queue.is_over());
        let channel = self.channels.entry(id).or_insert_with(|| Channel {
            queue: ByteQueue::new(self.queue_limit, self.budget.clone()),
            window: self.window,
            before_grant: None,
            last_packet: 0,
            trickle: None,
            alone: 0,
            pause: SHORT_PAUSE,
            taken: 0,
            moved: 0,
        });
        channel.queue.clone()
    }

    /// Packets of data that have come so far, on all channels.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// The peer has closed the channel.
    pub(crate) fn forget(&mut self, id: u32) {
        self.channels.remove(&id);
    }

    /// A packet has come for the channel and its window was raised to
    /// `granted`. What the next channel that is asked about shall have.
    pub(crate) fn granted(&mut self, id: u32, granted: u32) -> u32 {
        let heard = self.last_of_the_full();
        let packets = self.packets;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.before_grant = Some(channel.window);
            channel.window = granted;
            channel.alone = match channel.trickle {
                Some(since) if granted <= TRICKLE && heard < since => channel.alone + 1,
                _ => 0,
            };
            channel.trickle = (granted <= TRICKLE).then_some(packets);
        }
        let share = self.share();
        if self.full_take_no(share) || self.may_top_up(id, share) {
            share
        } else {
            TRICKLE
        }
    }

    /// Whether an answer of `share` is safe for now: no full channel will be
    /// granted anything before the next question, which comes when another one
    /// has used up half of its window at the latest.
    fn full_take_no(&self, share: u32) -> bool {
        let open = self.channels.len();
        self.channels
            .values()
            .filter(|channel| channel.is_full(open))
            .all(|channel| channel.window > share || !self.is_sending(channel))
    }

    /// Whether the next to be asked about is likely to be a channel that needs
    /// more and is not full.
    fn may_top_up(&mut self, id: u32, share: u32) -> bool {
        let open = self.channels.len();
        let Some(asking) = self.channels.get(&id) else {
            return false;
        };
        let is_tick = asking.is_full(open) && asking.trickle.is_some();
        if is_tick {
            self.tick = self.packets;
        } else if asking.is_full(open) {
            return false;
        } else if asking.trickle.is_some() {
            return asking.alone >= ALONE;
        }
        // What was granted before the last tick arrives before the next.
        let next_of_the_full = self.next_of_the_full(id);
        let comes_first = |channel: &Channel| match next_of_the_full {
            None => is_tick || channel.trickle.is_none_or(|granted| granted < self.tick),
            Some(next) => channel.last_packet < next,
        };
        self.channels.iter().any(|(other, channel)| {
            *other != id
                && channel.window < share / 2
                && !channel.is_full(open)
                && self.is_sending(channel)
                && comes_first(channel)
        })
    }

    /// Takes note of `length` bytes that came for a channel; `moved` grows
    /// with everything the connection carries.
    pub(crate) fn received(&mut self, id: u32, length: usize, moved: u64) -> Next {
        self.packets += 1;
        let open = self.channels.len();
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
        if self.budget.room() == 0 {
            return Next::Hold(self.budget.clone());
        }
        if length > TRICKLE || !channel.is_full(open) {
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
        let share = match u32::try_from(sending.count()).unwrap_or(u32::MAX) {
            0 | 1 => self.window,
            sending => (self.window / 4 * 3 / sending).max(LEAST),
        };
        let part = u32::try_from(self.budget.room() / PART_OF_ROOM).unwrap_or(u32::MAX);
        share.min(part).max(TRICKLE)
    }

    fn is_sending(&self, channel: &Channel) -> bool {
        channel.last_packet > 0
            && self.packets - channel.last_packet < RECENT
            && !channel.queue.is_over()
    }

    /// Where several channels are full: the number of the last packet of the
    /// one that is next to be heard of, as the peer takes its channels in turns.
    fn next_of_the_full(&self, asking: u32) -> Option<u64> {
        let open = self.channels.len();
        let full = || {
            let full = self.channels.iter();
            full.filter(|(_, channel)| channel.is_full(open))
        };
        if full().count() < 2 {
            return None;
        }
        full()
            .filter(|(id, _)| **id != asking)
            .map(|(_, channel)| channel.last_packet)
            .min()
    }

    /// The number of the last packet that came for a full channel.
    fn last_of_the_full(&self) -> u64 {
        let open = self.channels.len();
        let full = self
            .channels
            .values()
            .filter(|channel| channel.is_full(open));
        full.map(|channel| channel.last_packet).max().unwrap_or(0)
    }
}

impl Channel {
    fn is_full(&self, open: usize) -> bool {
        self.queue.is_to_blame(open)
    }
}

impl Next {
    /// Lets the pause pass, or ends it early when there is room again.
    ///
    /// # Errors
    /// When the peer sent more than it may.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;

    const MIB: u64 = 1 << 20;
    const WINDOW: u32 = 2 << 20;
    const PACKET: u32 = 32 << 10;

    /// russh and a client at the other end of a pipe, as far as windows go:
    /// the client sends what its windows allow, one packet of each channel in
    /// turns, and hears of a grant in its next turn.
    struct Wire {
        windows: Windows,
        target: u32,
        channels: Vec<Simulated>,
        /// Packets under way: channel and length.
        up: VecDeque<(usize, u32)>,
        /// Grants under way: channel and amount.
        down: VecDeque<(usize, u32)>,
    }

    struct Simulated {
        queue: ByteQueue,
        /// What russh takes for the client's window.
        granted: u32,
        /// What the client knows of it.
        known: u32,
        reads: bool,
        sends: bool,
        received: u64,
    }

    impl Wire {
        /// A connection with a channel for each item, which says whether
        /// anybody reads it.
        fn new(reads: &[bool]) -> Self {
            let mut windows = Windows::new(WINDOW, 4 << 20, Budget::new(16 << 20));
            let channels = (0..)
                .zip(reads)
                .map(|(id, &reads)| Simulated {
                    queue: windows.open(id),
                    granted: WINDOW,
                    known: WINDOW,
                    reads,
                    sends: true,
                    received: 0,
                })
                .collect();
            Self {
                windows,
                target: WINDOW,
                channels,
                up: VecDeque::new(),
                down: VecDeque::new(),
            }
        }

        /// The client takes in all grants and sends a packet of each channel;
        /// the server looks at `packets` of what is under way.
        fn turn(&mut self, packets: usize) {
            while let Some((channel, amount)) = self.down.pop_front() {
                self.channels[channel].known += amount;
            }
            for (number, channel) in self.channels.iter_mut().enumerate() {
                let length = channel.known.min(PACKET);
                if channel.sends && length > 0 {
                    channel.known -= length;
                    self.up.push_back((number, length));
                }
            }
            for _ in 0..packets {
                let Some((number, length)) = self.up.pop_front() else {
                    return;
                };
                self.arrive(number, length);
            }
        }

        /// As russh does when CHANNEL_DATA comes.
        fn arrive(&mut self, number: usize, length: u32) {
            let id = u32::try_from(number).unwrap();
            let channel = &mut self.channels[number];
            channel.granted -= length;
            if channel.granted < self.target / 2 {
                let amount = self.target - channel.granted;
                self.down.push_back((number, amount));
                channel.granted = self.target;
                self.target = self.windows.granted(id, self.target);
            }
            channel.queue.push(Bytes::from(vec![0; length as usize]));
            channel.received += u64::from(length);
            let next = self.windows.received(id, length as usize, 0);
            assert!(!matches!(next, Next::Hold(_) | Next::Violation), "{next:?}");
            if channel.reads {
                while channel.queue.pop().now_or_never().is_some() {}
            }
        }

        fn run(&mut self, turns: usize, packets: usize) {
            for _ in 0..turns {
                self.turn(packets);
            }
        }

        /// Bytes that came on channels that are read.
        fn delivered(&self) -> u64 {
            let read = self.channels.iter().filter(|channel| channel.reads);
            read.map(|channel| channel.received).sum()
        }
    }

    #[test]
    fn a_channel_that_is_not_read_takes_little_and_leaves_the_others_alone() {
        for stuck in 0..9 {
            // From a slow server to one that waits for the client.
            for packets in [8, 9, 12, 100] {
                let mut reads = [true; 9];
                reads[stuck] = false;
                let mut wire = Wire::new(&reads);
                wire.run(2_000, packets);
                let before = wire.delivered();
                wire.run(10_000, packets);
                let with_it = wire.delivered() - before;
                let held = wire.channels[stuck].received;
                assert!(held < 8 * MIB, "{stuck} {packets}: {held}");

                let mut others = Wire::new(&[true; 8]);
                others.run(2_000, packets);
                let before = others.delivered();
                others.run(10_000, packets);
                let alone = others.delivered() - before;
                assert!(
                    with_it * 10 >= alone * 6,
                    "{stuck} {packets}: {with_it} instead of {alone}"
                );
            }
        }
    }

    #[test]
    fn several_channels_that_are_not_read_stay_within_their_bounds() {
        let mut wire = Wire::new(&[true, false, true, false, true, false, true]);
        wire.run(20_000, 7);
        assert!(wire.windows.budget.used() < 32 << 20);
        let before = wire.delivered();
        wire.run(20_000, 7);
        assert!(wire.delivered() > before + 16 * MIB, "the others go on");
    }

    #[test]
    fn a_full_channel_that_falls_silent_holds_nobody_up() {
        let mut wire = Wire::new(&[true, false, true]);
        wire.run(2_000, 3);
        wire.channels[1].sends = false;
        wire.run(2_000, 3);
        let before = wire.delivered();
        wire.run(1_000, 3);
        let delivered = wire.delivered() - before;
        let most = 2 * 1_000 * u64::from(PACKET);
        assert!(delivered * 10 >= most * 9, "{delivered} of {most}");
    }

    #[test]
    fn a_full_channel_goes_on_when_it_is_read_again() {
        let mut wire = Wire::new(&[true, false]);
        wire.run(2_000, 2);
        let queue = wire.channels[1].queue.clone();
        while queue.pop().now_or_never().is_some() {}
        wire.channels[1].reads = true;
        let before = wire.channels[1].received;
        wire.run(1_000, 2);
        assert!(wire.channels[1].received > before + 24 * MIB);
    }

    #[test]
    fn what_exceeds_the_window_is_noticed() {
        let mut windows = Windows::new(WINDOW, 4 << 20, Budget::new(16 << 20));
        windows.open(0);
        for _ in 0..WINDOW / PACKET {
            assert!(matches!(
                windows.received(0, PACKET as usize, 0),
                Next::GoOn
            ));
        }
        assert!(matches!(windows.received(0, 1, 0), Next::Violation));
    }

    #[test]
    fn a_connection_that_is_full_is_held() {
        let mut windows = Windows::new(WINDOW, 4 << 20, Budget::new(1 << 20));
        let queue = windows.open(0);
        queue.push(Bytes::from(vec![0; 2 << 20]));
        assert!(matches!(windows.received(0, 1, 0), Next::Hold(_)));
    }
}
