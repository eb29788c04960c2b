//! What comes in on a channel, and last words to its peer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::Signal;
use crate::connection::queue::ByteQueue;
use crate::server::audit::{About, ChannelRecord};
use crate::server::process::Size;
use crate::server::session::context::SessionContext;
use crate::server::traffic::Traffic;

/// The interval at which a channel that takes nothing is looked at, and the
/// time for which it is tolerated while it holds up the whole connection.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The time for which last words to a peer may wait for it to read.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The input side of a channel: drained from the moment it opens and always,
/// so that russh's own small queue never fills and stops the session.
pub(crate) struct Input {
    reader: ChannelReadHalf,
    pub(crate) queue: ByteQueue,
    /// The counters of the channel's bytes.
    pub(crate) traffic: Arc<Traffic>,
    shared: Arc<SessionContext>,
    _record: ChannelRecord,
    full: Option<Full>,
}

/// A queue that is full, for as long as nothing is taken from it.
struct Full {
    /// The bytes that had been taken from it before.
    taken: u64,
    /// The time for which it has held up others so far.
    held_up: Duration,
    looked: Instant,
    /// Packets of data that had come on all channels by then.
    packets: u64,
}

/// A message on a channel other than data.
pub(crate) enum Event {
    /// A signal for the command (RFC 4254 section 6.9).
    Signal(Signal),
    /// The terminal has another size (RFC 4254 section 6.7).
    Resize(Size),
    /// The peer closed the channel, or the session is over.
    Closed,
    /// Nothing has been taken for long, and other channels are held up by it.
    Stalled,
    /// Nothing has come or gone for as long as is configured.
    Idle,
}

impl Input {
    pub(crate) fn new(
        id: ChannelId,
        reader: ChannelReadHalf,
        queue: ByteQueue,
        shared: Arc<SessionContext>,
        about: &About<'_>,
    ) -> Self {
        let flight = shared.flights.enter(id, shared.grants_coarsely());
        let traffic = Arc::new(Traffic::new(flight));
        Self {
            _record: shared.audit.opened(about, Arc::clone(&traffic)),
            reader,
            queue,
            traffic,
            shared,
            full: None,
        }
    }

    /// Moves data into the queue until something else comes.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let stalled = self.stalled_at();
            let idle_seconds = || self.shared.core.active().config.limits.channel_idle_seconds;
            let message = tokio::select! {
                message = self.reader.wait() => message,
                () = self.shared.over.cancelled() => return Event::Closed,
                () = self.traffic.idle(idle_seconds) => return Event::Idle,
                () = look_again(stalled), if stalled.is_some() => {
                    // Something may have been taken while nothing came.
                    let due = self.stalled_at().is_some_and(|at| at <= Instant::now());
                    if due && (self.shared.channels.len() > 1 || self.shared.is_held()) {
                        return Event::Stalled;
                    }
                    if due {
                        self.full = None;
                    }
                    continue;
                }
            };
            match message {
                Some(ChannelMsg::Data { data }) => {
                    self.traffic.received(data.len());
                    self.queue.push(data);
                }
                Some(ChannelMsg::Eof) => self.queue.finish(),
                Some(ChannelMsg::Signal { signal }) => return Event::Signal(signal.into()),
                Some(ChannelMsg::WindowChange {
                    col_width,
                    row_height,
                    pix_width,
                    pix_height,
                }) => {
                    let size = Size::new(col_width, row_height, pix_width, pix_height);
                    return Event::Resize(size);
                }
                Some(ChannelMsg::Close) | None => return Event::Closed,
                Some(_) => {}
            }
        }
    }

    /// The time at which a queue that is left as it is will count as a stall;
    /// `None` while nothing is held up on its account.
    ///
    /// Only time counts in which something came from the peer, or in which
    /// nothing could: where the network is at fault, what comes back from the
    /// target has nowhere to go, and that may be why the target takes no more.
    fn stalled_at(&mut self) -> Option<Instant> {
        if !self.queue.is_to_blame(self.shared.channels.len()) {
            self.full = None;
            return None;
        }
        let now = Instant::now();
        let is_held = self.shared.is_held();
        let (taken, packets) = (self.queue.taken(), self.shared.windows().packets());
        let held_up = match &self.full {
            Some(full) if full.taken != taken => Duration::ZERO,
            Some(full) if is_held || full.packets != packets => full.held_up + (now - full.looked),
            Some(full) => full.held_up,
            None => Duration::ZERO,
        };
        self.full = Some(Full {
            taken,
            held_up,
            looked: now,
            packets,
        });
        let time_limit = self.shared.active.config.limits.stalled_channel_seconds;
        let time_limit = Duration::from_secs(time_limit.into());
        // While the whole connection waits, nobody else can do anything.
        let time_limit = if is_held {
            time_limit.min(LOOK_AGAIN)
        } else {
            time_limit
        };
        Some(now + time_limit.saturating_sub(held_up))
    }

    /// Completes when the channel is closed, whatever else comes.
    pub(crate) async fn closed(&mut self) {
        while let Event::Signal(_) | Event::Resize(_) = self.next().await {}
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Waits until then, but not for long: the reasons to wait may change. Nor, if
/// then is still to come, for next to no time, since it may move on.
async fn look_again(then: Option<Instant>) {
    let now = Instant::now();
    let soon = now + LOOK_AGAIN;
    let then = match then {
        Some(then) if then > now => then.clamp(now + LOOK_AGAIN / 20, soon),
        Some(_) => now,
        None => soon,
    };
    sleep_until(then).await;
}

/// Writes to the user's standard error.
pub(crate) async fn tell(writer: &ChannelWriteHalf<Msg>, words: &str) -> Result<(), russh::Error> {
    let bytes = Bytes::copy_from_slice(words.as_bytes());
    writer.extended_data_bytes(STDERR, bytes).await
}

/// Ends a channel with an exit status.
pub(crate) async fn finish(writer: &ChannelWriteHalf<Msg>, status: u32) {
    let _ = writer.exit_status(status).await;
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

/// Ends a channel that went wrong; does not wait long for the peer.
pub(crate) async fn close_with_words(writer: &ChannelWriteHalf<Msg>, words: &str) {
    let _ = timeout(LAST_WORDS, tell(writer, words)).await;
    let _ = timeout(LAST_WORDS, finish(writer, 1)).await;
}

/// The type of extended data that is standard error (SSH_EXTENDED_DATA_STDERR,
/// RFC 4254 section 5.2).
pub(crate) const STDERR: u32 = 1;
