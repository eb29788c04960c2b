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
//!
//! While no channel is full, a window follows the path: twice what the path
//! holds, so that a peer far away need not wait for grants (ADR 56).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::path::{Arrivals, RoundTrip};
use super::queue::{Budget, ByteQueue};

/// The window of a full channel.
const TRICKLE: u32 = 16;
/// Trickles in a row after which a channel no longer waits for the clock: the
/// full channel's peer has nothing more to say.
const ALONE: u32 = 8;
/// The time for which a trickle is held on a connection that is quiet
/// otherwise, so that it does not turn into a busy loop: at first, and once
/// nothing has been consumed for a while.
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
/// The share of the room left (one part in so many) that a full channel may
/// take, should a window that was meant for another reach it.
const PART_OF_ROOM: usize = 128;
/// The share of the room (one part in so many) that all channels that are
/// sending may be granted while none is full: if they are all left unread from
/// now on, the other half is left.
const HALF_OF_ROOM: usize = 2;
/// The time before new keys are due in which windows are what the exchange
/// allows.
const BEFORE_KEYS: Duration = Duration::from_secs(30);
/// The same in bytes: what was granted before may still come.
const WINDOWS_BEFORE_KEYS: u64 = 4;

/// The windows of one SSH connection.
#[derive(Debug)]
pub(crate) struct Windows {
    sizes: Sizes,
    queue_limit: usize,
    budget: Budget,
    /// The channels by their numbers.
    channels: HashMap<u32, Channel>,
    /// Data packets received so far.
    packets: u64,
    /// The number of the full channel's last trickle.
    tick: u64,
    round_trip: RoundTrip,
    keys: KeysDue,
    /// Bytes the connection had carried by the last packet.
    moved: u64,
}

/// How large a channel's window may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The window that a channel is granted at first.
    pub(crate) first: u32,
    /// The largest window that it is granted, on a path that holds so much.
    pub(crate) largest: u32,
}

/// The time, and the number of bytes, before which our side asks for no new
/// keys.
///
/// While it waits for the peer's answer, russh takes twice one first window
/// from the whole connection and then gives up. It starts the exchange after so
/// much time or so many bytes since the last one; the peer may have started
/// others that we are not told of, and they only put it off. So there is a time
/// at the beginning of a connection in which windows may be larger than that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysDue {
    at: Option<Instant>,
    bytes: u64,
}

#[derive(Debug)]
struct Channel {
    queue: ByteQueue,
    arrivals: Arrivals,
    /// The bytes that the peer may still send.
    window: u32,
    /// The bytes that it could send before the packet at hand, if that packet
    /// was answered with a grant.
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
    /// The bytes that the connection had carried at the last trickle.
    moved: u64,
}

/// What to do before the next packet is looked at.
#[derive(Debug)]
pub(crate) enum Next {
    /// Go on: nothing is to be done.
    GoOn,
    /// Wait a moment, or until there is room.
    Pause(ByteQueue, Duration),
    /// Wait until queues have been emptied: everything is full.
    Hold(Budget),
    /// The peer sent more than it may.
    Violation,
}

impl Windows {
    /// `queue_limit` is what a channel's queue may hold before it is full.
    pub(crate) fn new(sizes: Sizes, queue_limit: usize, budget: Budget, keys: KeysDue) -> Self {
        Self {
            sizes,
            queue_limit,
            budget,
            channels: HashMap::new(),
            packets: 0,
            tick: 0,
            round_trip: RoundTrip::default(),
            keys,
            moved: 0,
        }
    }

    /// The queue for a channel's data; made at the first call.
    pub(crate) fn open(&mut self, id: u32) -> ByteQueue {
        self.channels.retain(|_, channel| !channel.queue.is_over());
        let channel = self.channels.entry(id).or_insert_with(|| Channel {
            queue: ByteQueue::new(self.queue_limit, self.budget.clone()),
            arrivals: Arrivals::default(),
            window: self.sizes.first,
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

    /// Forgets a channel that the peer has closed.
    pub(crate) fn forget(&mut self, id: u32) {
        self.channels.remove(&id);
    }

    /// Notes that a packet has come for the channel and its window was raised
    /// to `granted`. Returns the window for the next channel that is asked
    /// about.
    pub(crate) fn granted(&mut self, id: u32, granted: u32, now: Instant) -> u32 {
        let heard = self.last_of_the_full();
        let packets = self.packets;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.arrivals.granted(channel.window, now);
            channel.before_grant = Some(channel.window);
            channel.window = granted;
            channel.alone = match channel.trickle {
                Some(since) if granted <= TRICKLE && heard < since => channel.alone + 1,
                _ => 0,
            };
            channel.trickle = (granted <= TRICKLE).then_some(packets);
        }
        let share = self.share(now);
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
    pub(crate) fn received(&mut self, id: u32, length: usize, moved: u64, now: Instant) -> Next {
        self.packets += 1;
        self.moved = moved;
        let open = self.channels.len();
        let Some(channel) = self.channels.get_mut(&id) else {
            return Next::GoOn;
        };
        channel.last_packet = self.packets;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        channel.arrivals.received(length, &mut self.round_trip, now);
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
    fn share(&self, now: Instant) -> u32 {
        let open = self.channels.len();
        let sending = || {
            let channels = self.channels.values();
            channels.filter(|channel| self.is_sending(channel))
        };
        let count = sending().count().max(1);
        let least = self.least_share(count);
        let room = self.budget.room();
        let at_most = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.channels.values().any(|channel| channel.is_full(open)) {
            return least.min(at_most(room / PART_OF_ROOM)).max(TRICKLE);
        }
        let wanted = sending().map(|channel| channel.arrivals.wanted()).max();
        let share = if self.keys.are_far(now, self.moved) && !self.is_behind() {
            let wanted = u32::try_from(wanted.unwrap_or(0)).unwrap_or(u32::MAX);
            wanted.min(self.sizes.largest).max(least)
        } else {
            least
        };
        share.min(at_most(room / HALF_OF_ROOM / count)).max(TRICKLE)
    }

    /// What each of so many channels that are sending may always be granted.
    ///
    /// The more there are, the smaller: all these windows together stay below
    /// what is taken while new keys are agreed on ([`KeysDue`]), with room for
    /// what one channel had been granted before there were others.
    fn least_share(&self, sending: usize) -> u32 {
        match u32::try_from(sending).unwrap_or(u32::MAX) {
            0 | 1 => self.sizes.first,
            sending => (self.sizes.first / 4 * 3 / sending).max(LEAST),
        }
    }

    /// Whether a channel that is sending is on its way to being full.
    fn is_behind(&self) -> bool {
        self.channels
            .values()
            .any(|channel| self.is_sending(channel) && channel.queue.size() > self.queue_limit / 4)
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

impl KeysDue {
    /// The bounds for a connection that begins at `now` and asks for new keys
    /// after `limit` or `bytes`; `largest` is the largest window in bytes.
    pub(crate) fn after(limit: Duration, bytes: u64, largest: u32, now: Instant) -> Self {
        let drained = WINDOWS_BEFORE_KEYS * u64::from(largest);
        Self {
            at: now.checked_add(limit.saturating_sub(BEFORE_KEYS)),
            bytes: bytes.saturating_sub(drained),
        }
    }

    /// Whether none are due soon, after so many bytes have moved.
    fn are_far(&self, now: Instant, moved: u64) -> bool {
        moved < self.bytes && self.at.is_none_or(|at| now < at)
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
    const LARGEST: u32 = 16 << 20;
    const TURN: Duration = Duration::from_micros(100);

    fn windows(session: usize, keys: KeysDue) -> Windows {
        let sizes = Sizes {
            first: WINDOW,
            largest: LARGEST,
        };
        Windows::new(sizes, 4 << 20, Budget::new(session), keys)
    }

    fn no_keys() -> KeysDue {
        let day = Duration::from_secs(86_400);
        KeysDue::after(day, u64::MAX, LARGEST, Instant::now())
    }

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
        now: Instant,
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
            let mut windows = windows(16 << 20, no_keys());
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
                now: Instant::now(),
            }
        }

        /// The client takes in all grants and sends a packet of each channel;
        /// the server looks at `packets` of what is under way.
        fn turn(&mut self, packets: usize) {
            self.now += TURN;
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
                self.target = self.windows.granted(id, self.target, self.now);
            }
            channel.queue.push(Bytes::from(vec![0; length as usize]));
            channel.received += u64::from(length);
            let next = self.windows.received(id, length as usize, 0, self.now);
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
        let mut windows = windows(16 << 20, no_keys());
        let now = Instant::now();
        windows.open(0);
        for _ in 0..WINDOW / PACKET {
            let next = windows.received(0, PACKET as usize, 0, now);
            assert!(matches!(next, Next::GoOn));
        }
        assert!(matches!(windows.received(0, 1, 0, now), Next::Violation));
    }

    #[test]
    fn a_connection_that_is_full_is_held() {
        let mut windows = windows(1 << 20, no_keys());
        let queue = windows.open(0);
        queue.push(Bytes::from(vec![0; 2 << 20]));
        let next = windows.received(0, 1, 0, Instant::now());
        assert!(matches!(next, Next::Hold(_)));
    }

    /// A path of so many milliseconds there and back, over which so many bytes
    /// fit in each of them, and clients that send what they may.
    struct LongPath {
        wire: Wire,
        round_trip: u64,
        rate: u64,
        /// When it arrives, and what.
        up: VecDeque<(u64, usize, u32)>,
        down: VecDeque<(u64, usize, u32)>,
        time: u64,
        /// Whose turn it is to send.
        turn: usize,
        largest: u32,
    }

    impl LongPath {
        fn new(reads: &[bool], round_trip: u64, mbits: u64) -> Self {
            Self {
                wire: Wire::new(reads),
                round_trip,
                rate: mbits * 1_000_000 / 8 / 1000,
                up: VecDeque::new(),
                down: VecDeque::new(),
                time: 0,
                turn: 0,
                largest: 0,
            }
        }

        fn millisecond(&mut self) {
            self.time += 1;
            self.wire.now += Duration::from_millis(1);
            let half = self.round_trip / 2;
            while let Some(&(due, channel, amount)) = self.down.front() {
                if due > self.time {
                    break;
                }
                self.down.pop_front();
                self.wire.channels[channel].known += amount;
            }
            let mut left = self.rate;
            let mut idle = 0;
            while left > 0 && idle < self.wire.channels.len() {
                let number = self.turn % self.wire.channels.len();
                self.turn += 1;
                let channel = &mut self.wire.channels[number];
                let length = channel.known.min(PACKET).min(u32::try_from(left).unwrap());
                idle += 1;
                if channel.sends && length > 0 {
                    idle = 0;
                    channel.known -= length;
                    left -= u64::from(length);
                    self.up.push_back((self.time + half, number, length));
                }
            }
            while let Some(&(due, channel, length)) = self.up.front() {
                if due > self.time {
                    break;
                }
                self.up.pop_front();
                self.wire.arrive(channel, length);
                self.largest = self.largest.max(self.wire.channels[channel].granted);
            }
            for (channel, amount) in std::mem::take(&mut self.wire.down) {
                let arrives = self.time + self.round_trip - half;
                self.down.push_back((arrives, channel, amount));
            }
        }

        /// Bytes delivered in so many milliseconds, in percent of what the link
        /// carries.
        fn percent(&mut self, milliseconds: u64) -> u64 {
            let before = self.wire.delivered();
            for _ in 0..milliseconds {
                self.millisecond();
            }
            (self.wire.delivered() - before) * 100 / (self.rate * milliseconds)
        }
    }

    #[test]
    fn a_long_path_is_filled_with_windows_of_twice_what_it_holds() {
        for (round_trip, mbits) in [(1, 1000), (50, 100), (50, 1000), (200, 100), (200, 300)] {
            let mut path = LongPath::new(&[true], round_trip, mbits);
            path.percent(30 * round_trip);
            let percent = path.percent(3000);
            assert!(
                percent >= 98,
                "{round_trip} ms, {mbits} Mbit/s: {percent} %"
            );
            let twice = (2 * path.rate * round_trip).max(u64::from(WINDOW));
            let largest = u64::from(path.largest);
            assert!(largest <= twice * 5 / 4, "{largest} on {twice}");
        }
        // Too much for 16 MiB: a third of the link, four times what the usual
        // windows of 2 MiB carry.
        let mut path = LongPath::new(&[true], 200, 1000);
        path.percent(6000);
        let percent = path.percent(3000);
        assert!(percent >= 32, "{percent} %");
        assert!(path.largest <= LARGEST);
    }

    #[test]
    fn several_channels_share_a_long_path() {
        let mut path = LongPath::new(&[true; 4], 50, 500);
        path.percent(3000);
        let before: Vec<_> = path.wire.channels.iter().map(|it| it.received).collect();
        assert!(path.percent(3000) >= 98);
        let moved = path.wire.channels.iter().zip(&before);
        let moved: Vec<_> = moved.map(|(now, before)| now.received - before).collect();
        let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
        assert!(most * 4 <= least * 5, "{moved:?}");
    }

    #[test]
    fn an_unread_channel_on_a_long_path_stays_within_the_bounds() {
        for stuck in 0..3 {
            let mut reads = [true; 3];
            reads[stuck] = false;
            let mut path = LongPath::new(&reads, 50, 1000);
            for _ in 0..10 {
                path.percent(1000);
                let used = path.wire.windows.budget.used();
                assert!(used < 32 << 20, "{used}");
            }
            let before = path.wire.delivered();
            path.percent(2000);
            assert!(path.wire.delivered() > before + MIB, "the others go on");
        }
    }

    #[test]
    fn windows_are_what_new_keys_allow_when_they_are_due() {
        let hour = Duration::from_secs(3600);
        let hours = KeysDue::after(hour, u64::MAX, LARGEST, Instant::now());
        let mut path = LongPath::new(&[true], 200, 300);
        path.wire.windows.keys = hours;
        path.percent(6000);
        assert!(path.largest > 12 << 20, "{}", path.largest);
        path.wire.now += hour - Duration::from_secs(31);
        path.percent(6000);
        path.largest = 0;
        path.percent(6000);
        assert!(path.largest <= WINDOW);

        let bytes = KeysDue::after(hour, 1 << 30, LARGEST, Instant::now());
        let now = Instant::now();
        assert!(bytes.are_far(now, 0) && !bytes.are_far(now, (1 << 30) - (64 << 20)));
        let always = KeysDue::after(hour, 1 << 20, LARGEST, now);
        assert!(!always.are_far(now, 0));
    }
}
