//! The byte stream handed to russh.
//!
//! russh writes its whole output before it reads again. Two such ends that
//! both have more to say than the transport between them buffers would wait
//! for each other for good. [`Transport`] therefore goes on reading, into
//! memory, while a write is held up. What it may have to keep is bounded by
//! what the peer can send unasked: the SSH windows of its channels.
//!
//! It also is where a session is observed and ended from outside, through
//! [`Control`]: russh's task can neither be aborted nor asked whether it only
//! waits for the peer to close, but it reads and writes here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use alknet_handler::{BoxFuture, ByteStream};
use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_util::io::poll_read_buf;

use super::clear_text::ClearText;
use super::queue::Budget;

/// A read for at least this many bytes goes straight to the caller's buffer.
const DIRECT_READ: usize = 4 * 1024;
/// The bytes asked for when the caller wants fewer: small packets then arrive
/// in one read, and little of a large one is copied twice.
const READ_AHEAD: usize = 4 * 1024;
/// Bytes asked for at a time while a write is held up.
const DRAIN: usize = 64 * 1024;

/// The bytes that have passed over all the streams that are counted here.
#[derive(Debug, Default)]
pub(crate) struct PassedBytes {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

/// A stream whose reads go on while a write is held up. Both halves must be
/// used from one task at a time, as russh does.
#[derive(Debug)]
pub(crate) struct Transport<S>(Arc<Shared<S>>);

/// The handle by which the owner of a session observes and ends its
/// [`Transport`].
pub(crate) trait Control: Send + Sync {
    /// Fails every operation from now on.
    fn trip(&self);

    /// A number that grows with every byte read or written.
    fn moved(&self) -> u64;

    /// How many bytes were read, and how many written.
    fn bytes(&self) -> (u64, u64);

    /// Whether the session has begun to shut the stream down.
    fn is_shut_down(&self) -> bool;

    /// Completes when [`is_shut_down`](Self::is_shut_down) does.
    fn shut_down(&self) -> BoxFuture<'_, ()>;

    /// Begins the time before the log-in: what is kept in memory meanwhile
    /// counts in `budget`, and a peer that sends more than `most` bytes is cut
    /// off.
    fn before_login(&self, most: u64, budget: &Budget);

    /// Completes when the peer has sent its first encrypted byte, if that is
    /// before the log-in.
    fn encrypted(&self) -> BoxFuture<'_, ()>;

    /// Ends the time before the log-in; from now on up to `capacity` bytes may
    /// be kept while a write is held up.
    fn logged_in(&self, capacity: usize);

    /// Sees to it that a peer gets all that was written, although the session
    /// has failed and let go of the stream: announces the end and reads on
    /// until the peer has ended its side too. The caller bounds the time.
    fn finish(&self) -> BoxFuture<'_, ()>;
}

#[derive(Debug)]
struct Shared<S> {
    state: Mutex<State<S>>,
    tripped: AtomicBool,
    session: AtomicWaker,
    shut: AtomicBool,
    shut_notify: Notify,
    encrypted: Arc<Notify>,
}

#[derive(Debug)]
struct State<S> {
    stream: S,
    inbox: BytesMut,
    capacity: usize,
    ended: Option<io::Result<()>>,
    received: u64,
    written: u64,
    counted: Option<Arc<PassedBytes>>,
    /// The limits and counts that hold until somebody has logged in.
    before_login: Option<BeforeLogin>,
    /// Bytes of coming writes that have been sent already.
    sent: usize,
}

/// The limits on a peer that has not logged in, and what it has sent so far.
#[derive(Debug)]
struct BeforeLogin {
    most: u64,
    budget: Budget,
    counted: usize,
    clear: ClearText,
    encrypted: Arc<Notify>,
}

impl BeforeLogin {
    fn passes(&mut self, bytes: &[u8]) {
        if self.clear.passes(bytes) {
            self.encrypted.notify_one();
        }
    }

    fn count(&mut self, kept: usize) {
        self.budget.recount(self.counted, kept);
        self.counted = kept;
    }
}

impl Drop for BeforeLogin {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl<S: ByteStream> Transport<S> {
    /// Wraps `stream`; at most `capacity` bytes (and a small read more) are kept
    /// in memory while a write is held up.
    /// What passes is added to `counted`, if that is given.
    pub(crate) fn new(
        stream: S,
        capacity: usize,
        counted: Option<Arc<PassedBytes>>,
    ) -> (Self, Arc<dyn Control>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                stream,
                inbox: BytesMut::new(),
                capacity,
                ended: None,
                received: 0,
                written: 0,
                counted,
                before_login: None,
                sent: 0,
            }),
            tripped: AtomicBool::new(false),
            session: AtomicWaker::new(),
            shut: AtomicBool::new(false),
            shut_notify: Notify::new(),
            encrypted: Arc::default(),
        });
        (Self(Arc::clone(&shared)), shared)
    }

    /// Gives back what was read, to be read again, and takes the next `sent`
    /// bytes written as sent already.
    pub(crate) fn rewind(&mut self, mut read: BytesMut, sent: usize) {
        let mut state = self.0.lock();
        read.unsplit(std::mem::take(&mut state.inbox));
        state.inbox = read;
        state.sent = sent;
    }
}

impl<S: ByteStream> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.check(cx)?;
        self.0.lock().read(cx, buf)
    }
}

impl<S: ByteStream> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.check(cx)?;
        let mut state = self.0.lock();
        if state.sent > 0 {
            let skipped = state.sent.min(buf.len());
            state.sent -= skipped;
            return Poll::Ready(Ok(skipped));
        }
        match Pin::new(&mut state.stream).poll_write(cx, buf) {
            Poll::Pending => state.wait_for_peer(cx),
            Poll::Ready(result) => {
                state.wrote(result.as_ref().map_or(0, |written| *written));
                Poll::Ready(result)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.check(cx)?;
        let mut state = self.0.lock();
        match Pin::new(&mut state.stream).poll_flush(cx) {
            Poll::Pending => state.wait_for_peer(cx),
            ready => ready,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = self.0.check(cx).map(|()| {
            let mut state = self.0.lock();
            match Pin::new(&mut state.stream).poll_shutdown(cx) {
                Poll::Pending => match state.wait_for_peer(cx) {
                    // Both sides have ended; nobody is left to hear of it.
                    Poll::Ready(_) if matches!(state.ended, Some(Ok(()))) => Poll::Ready(Ok(())),
                    other => other,
                },
                ready => ready,
            }
        });
        // Only now, so that whoever waits for it finds the end announced.
        if !self.0.shut.swap(true, Ordering::AcqRel) {
            self.0.shut_notify.notify_waiters();
        }
        shutdown?
    }
}

impl<S: ByteStream> Control for Shared<S> {
    fn trip(&self) {
        self.tripped.store(true, Ordering::Release);
        self.session.wake();
    }

    fn moved(&self) -> u64 {
        let (received, written) = self.bytes();
        received.wrapping_add(written)
    }

    fn bytes(&self) -> (u64, u64) {
        let state = self.lock();
        (state.received, state.written)
    }

    fn is_shut_down(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    fn before_login(&self, most: u64, budget: &Budget) {
        self.lock().before_login = Some(BeforeLogin {
            most,
            budget: budget.clone(),
            counted: 0,
            clear: ClearText::default(),
            encrypted: Arc::clone(&self.encrypted),
        });
    }

    fn encrypted(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.encrypted.notified())
    }

    fn logged_in(&self, capacity: usize) {
        let mut state = self.lock();
        state.before_login = None;
        state.capacity = capacity;
    }

    fn shut_down(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let notified = self.shut_notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if !self.is_shut_down() {
                notified.await;
            }
        })
    }

    fn finish(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let shutdown = poll_fn(|cx| Pin::new(&mut self.lock().stream).poll_shutdown(cx));
            if shutdown.await.is_err() {
                return;
            }
            // A TCP socket that is closed with unread input takes back what
            // was sent last.
            while self.lock().ended.is_none() {
                poll_fn(|cx| self.lock().fill(cx, READ_AHEAD)).await;
                self.lock().inbox.clear();
            }
        })
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers whom to wake, and fails once tripped.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.session.register(cx.waker());
        if self.tripped.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the session was ended",
            ));
        }
        Ok(())
    }
}

impl<S: ByteStream> State<S> {
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_amount()?;
        if self.inbox.is_empty() {
            if self.ended.is_some() {
                return Poll::Ready(self.take_end());
            }
            if buf.remaining() >= DIRECT_READ {
                let before = buf.filled().len();
                let result = Pin::new(&mut self.stream).poll_read(cx, buf);
                let read = buf.filled().get(before..).unwrap_or_default();
                if let Some(stranger) = &mut self.before_login {
                    stranger.passes(read);
                }
                self.has_read(read.len());
                return result;
            }
            ready!(self.fill(cx, READ_AHEAD));
            if self.inbox.is_empty() {
                return Poll::Ready(self.take_end());
            }
        }
        let length = self.inbox.len().min(buf.remaining());
        buf.put_slice(&self.inbox.split_to(length));
        if self.inbox.is_empty() && self.inbox.capacity() > READ_AHEAD {
            self.inbox = BytesMut::new();
        }
        self.count_kept();
        Poll::Ready(Ok(()))
    }

    fn check_amount(&self) -> io::Result<()> {
        match &self.before_login {
            Some(stranger) if self.received > stranger.most => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more was sent before the log-in than a log-in needs",
            )),
            _ => Ok(()),
        }
    }

    fn count_kept(&mut self) {
        if let Some(stranger) = &mut self.before_login {
            stranger.count(self.inbox.len());
        }
    }

    /// Reads on while a write waits, so that the peer can finish its own
    /// write and come to read ours. A peer that has ended its side is not
    /// waited for: SSH knows no half-closed connection.
    fn wait_for_peer<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.drain(cx);
        if self.ended.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Pending
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        while self.ended.is_none() && self.inbox.len() < self.capacity {
            let room = self.capacity - self.inbox.len();
            if self.fill(cx, DRAIN.min(room)).is_pending() {
                break;
            }
        }
    }

    fn has_read(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some(counted) = &self.counted {
            counted.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        if let Some(counted) = &self.counted {
            counted.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// One read into the inbox; the end and errors are kept for the reader.
    fn fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<()> {
        self.inbox.reserve(size);
        let before = self.inbox.len();
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbox);
        // A session that waits for its peer, for hours perhaps, keeps no buffer.
        if read.is_pending() && before == 0 && self.inbox.capacity() <= READ_AHEAD {
            self.inbox = BytesMut::new();
        }
        match ready!(read) {
            Ok(0) => self.ended = Some(Ok(())),
            Ok(read) => {
                if let Some(stranger) = &mut self.before_login {
                    stranger.passes(self.inbox.get(before..).unwrap_or_default());
                }
                self.has_read(read);
            }
            Err(error) => self.ended = Some(Err(error)),
        }
        self.count_kept();
        Poll::Ready(())
    }

    /// The end is reported again and again, an error as one and then the end.
    fn take_end(&mut self) -> io::Result<()> {
        self.ended.replace(Ok(())).unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn two_ends_that_write_before_they_read_both_finish() {
        const AMOUNT: usize = 300_000;
        async fn write_then_read(stream: tokio::io::DuplexStream, byte: u8) -> Vec<u8> {
            let (mut transport, _control) = Transport::new(stream, AMOUNT, None);
            transport.write_all(&vec![byte; AMOUNT]).await.unwrap();
            let mut received = vec![0; AMOUNT];
            transport.read_exact(&mut received).await.unwrap();
            received
        }
        let (left, right) = duplex(64);
        let (left, right) = tokio::join!(write_then_read(left, 1), write_then_read(right, 2));
        assert_eq!((left, right), (vec![2; AMOUNT], vec![1; AMOUNT]));
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_before_the_end() {
        let (near, mut far) = duplex(1024);
        let (mut transport, _control) = Transport::new(near, 1024, None);
        far.write_all(b"hello").await.unwrap();
        drop(far);
        let mut first = [0; 2];
        transport.read_exact(&mut first).await.unwrap();
        let mut rest = Vec::new();
        transport.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&first[..], &rest[..]), (&b"he"[..], &b"llo"[..]));
    }

    #[tokio::test]
    async fn a_tripped_control_ends_a_waiting_read() {
        let (near, _far) = duplex(16);
        let (mut transport, control) = Transport::new(near, 16, None);
        let reading = tokio::spawn(async move { transport.read_u8().await });
        tokio::task::yield_now().await;
        control.trip();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_write_does_not_wait_for_a_peer_that_has_ended() {
        let (near, mut far) = duplex(16);
        let (mut transport, _control) = Transport::new(near, 1024, None);
        far.shutdown().await.unwrap();
        let error = transport.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn what_a_stranger_makes_us_keep_is_bounded_and_counted() {
        let (near, mut far) = duplex(1 << 20);
        let (mut transport, control) = Transport::new(near, 1024, None);
        let budget = Budget::new(1 << 20);
        control.before_login(4096, &budget);
        far.write_all(&[0; 8192]).await.unwrap();
        // Nobody reads what is written; the reading ahead stops all the same.
        let held_up = transport.write_all(&[0; 2 << 20]);
        let waited = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(waited, held_up).await.is_err());
        assert_eq!(budget.used(), 1024);
        let mut all = Vec::new();
        let error = transport.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        control.logged_in(1024);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn reading_ahead_stops_at_the_capacity() {
        let (near, mut far) = duplex(16);
        let (mut transport, _control) = Transport::new(near, 1024, None);
        let writing = tokio::spawn(async move {
            let mut sent = 0_usize;
            while tokio::time::timeout(
                std::time::Duration::from_millis(200),
                far.write_all(&[0; 16]),
            )
            .await
            .is_ok()
            {
                sent += 16;
            }
            (sent, far)
        });
        let blocked = transport.write_all(&[0; 64]);
        let stopped = tokio::select! {
            _ = blocked => panic!("nobody reads"),
            written = writing => written.unwrap().0,
        };
        assert!((1024..1024 + DRAIN).contains(&stopped), "{stopped}");
    }
}
