//! Bounded queues of bytes between a channel and its consumer, with a budget
//! for all queues of a connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// Chunks smaller than this are put together, so that many small ones cost no
/// more memory than they hold bytes.
const SMALL: usize = 1024;
/// The bytes above which a queue counts as holding much when the budget is
/// exhausted.
const NOT_LITTLE: usize = 64 * 1024;
/// The most bytes that small chunks are put together to.
const TOGETHER: usize = 16 * 1024;

/// Bytes on their way from an SSH channel to whoever consumes them. One
/// producer, one consumer. A queue never refuses what it is given; it says
/// when it has too much.
#[derive(Clone, Debug)]
pub(crate) struct ByteQueue(Arc<Shared>);

/// The number of bytes that all queues of one SSH connection may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    limit: usize,
    /// The budget that this one is a part of.
    whole: Option<Budget>,
    used: AtomicUsize,
    freed: Notify,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    budget: Budget,
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    small: BytesMut,
    size: usize,
    /// The bytes taken so far.
    taken: u64,
    /// Whether no more will be pushed.
    finished: bool,
    /// Whether nobody will take any more, so that what is pushed is thrown
    /// away.
    closed: bool,
    consumer: Option<Waker>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(BudgetState {
            limit,
            whole: None,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// Makes a part of this budget: what the part holds counts in both.
    pub(crate) fn part(&self, limit: usize) -> Self {
        Self(Arc::new(BudgetState {
            limit,
            whole: Some(self.clone()),
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// The bytes that all queues hold now.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    /// Whether all queues together hold as much as they may.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() >= self.0.limit || self.whole_is_exhausted()
    }

    fn whole_is_exhausted(&self) -> bool {
        self.0.whole.as_ref().is_some_and(Self::is_exhausted)
    }

    /// Bytes up to twice the limit: what was granted before the limit was
    /// noticed will come as well, and beyond it nothing can be taken in.
    pub(crate) fn room(&self) -> usize {
        let own = self.0.limit.saturating_mul(2).saturating_sub(self.used());
        self.0
            .whole
            .as_ref()
            .map_or(own, |whole| own.min(whole.room()))
    }

    /// Completes when there is [`room`](Self::room).
    pub(crate) async fn relieved(&self) {
        let whole = self.0.whole.as_ref().unwrap_or(self);
        loop {
            let (freed, elsewhere) = (self.0.freed.notified(), whole.0.freed.notified());
            tokio::pin!(freed, elsewhere);
            freed.as_mut().enable();
            elsewhere.as_mut().enable();
            if self.room() > 0 {
                return;
            }
            tokio::select! {
                () = freed => {}
                () = elsewhere => {}
            }
        }
    }

    /// Takes into account that somebody who held `before` bytes now holds
    /// `now`.
    pub(crate) fn recount(&self, before: usize, now: usize) {
        if now > before {
            self.take(now - before);
        } else {
            self.give_back(before - now);
        }
    }

    fn take(&self, size: usize) {
        self.0.used.fetch_add(size, Ordering::AcqRel);
        if let Some(whole) = &self.0.whole {
            whole.take(size);
        }
    }

    fn give_back(&self, size: usize) {
        if size > 0 {
            self.0.used.fetch_sub(size, Ordering::AcqRel);
            self.0.freed.notify_waiters();
            if let Some(whole) = &self.0.whole {
                whole.give_back(size);
            }
        }
    }
}

impl ByteQueue {
    pub(crate) fn new(limit: usize, budget: Budget) -> Self {
        Self(Arc::new(Shared {
            limit,
            budget,
            state: Mutex::default(),
            taken: Notify::new(),
        }))
    }

    /// Adds a chunk, whatever the limits.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut state = self.lock();
        if state.closed || state.finished || chunk.is_empty() {
            return;
        }
        let size = chunk.len();
        state.size += size;
        self.0.budget.take(size);
        state.push(chunk);
        wake(state);
    }

    /// Ends the queue: the consumer sees the end after what is queued.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        wake(state);
    }

    /// Closes the consumer's side, and frees what the queue holds.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.chunks = VecDeque::new();
        state.small = BytesMut::new();
        let size = std::mem::take(&mut state.size);
        drop(state);
        self.0.budget.give_back(size);
        self.0.taken.notify_one();
    }

    /// Whether nobody takes from it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether nothing will come or be taken any more.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.closed || (state.finished && state.size == 0)
    }

    /// The bytes that the queue holds.
    pub(crate) fn size(&self) -> usize {
        self.lock().size
    }

    /// The bytes taken since the beginning.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Whether this queue and all queues of the connection are within their
    /// limits; an empty queue always is.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        let budget = &self.0.budget;
        state.closed || state.size == 0 || (state.size < self.0.limit && !budget.is_exhausted())
    }

    /// Whether this queue is to blame that there is no room: it has reached its
    /// own limit, or all have reached theirs and it holds more than its part
    /// among `queues`.
    pub(crate) fn is_to_blame(&self, queues: usize) -> bool {
        let state = self.lock();
        let budget = &self.0.budget.0;
        !state.closed
            && state.size > 0
            && (state.size >= self.0.limit
                || (self.0.budget.is_exhausted() && state.size >= budget.limit / queues.max(1))
                || (self.0.budget.whole_is_exhausted() && state.size >= NOT_LITTLE))
    }

    /// Completes when there is room.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.0.budget.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            tokio::select! {
                () = freed => {}
                () = self.0.taken.notified() => {}
            }
        }
    }

    /// The next chunk; `None` after the last.
    pub(crate) async fn pop(&self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_pop(cx)).await
    }

    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if let Some(chunk) = state.pop() {
            let size = chunk.len();
            state.size -= size;
            state.taken += size as u64;
            drop(state);
            self.0.budget.give_back(size);
            self.0.taken.notify_one();
            return Poll::Ready(Some(chunk));
        }
        if state.finished || state.closed {
            return Poll::Ready(None);
        }
        state.consumer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, chunk: Bytes) {
        let fits = self.small.len() + chunk.len() <= TOGETHER;
        if chunk.len() < SMALL && fits {
            self.small.extend_from_slice(&chunk);
            return;
        }
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.chunks.push_back(small);
        }
        self.chunks.push_back(chunk);
    }

    fn pop(&mut self) -> Option<Bytes> {
        self.chunks.pop_front().or_else(|| {
            let small = std::mem::take(&mut self.small);
            (!small.is_empty()).then(|| small.freeze())
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(std::mem::take(&mut state.size));
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let consumer = state.consumer.take();
    drop(state);
    if let Some(waker) = consumer {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize, budget: usize) -> ByteQueue {
        ByteQueue::new(limit, Budget::new(budget))
    }

    #[tokio::test]
    async fn chunks_come_out_in_order_and_then_the_end() {
        let queue = queue(1000, 1000);
        let large = Bytes::from(vec![b'x'; SMALL]);
        for chunk in ["a", "b"] {
            queue.push(Bytes::from_static(chunk.as_bytes()));
        }
        queue.push(large.clone());
        queue.push(Bytes::from_static(b"c"));
        queue.finish();
        assert_eq!(queue.pop().await.unwrap(), "ab");
        assert_eq!(queue.pop().await.unwrap(), large);
        assert_eq!(queue.pop().await.unwrap(), "c");
        assert_eq!(queue.pop().await, None);
        assert!(queue.is_over());
        assert_eq!(queue.taken(), 3 + SMALL as u64);
    }

    #[tokio::test]
    async fn a_full_queue_has_room_again_once_something_was_taken() {
        let queue = queue(300, 10_000);
        queue.push(Bytes::from(vec![0; 300]));
        assert!(!queue.has_room());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.room().await }
        });
        tokio::task::yield_now().await;
        queue.pop().await.unwrap();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn one_queue_waits_for_the_budget_another_holds() {
        let budget = Budget::new(1000);
        let greedy = ByteQueue::new(10_000, budget.clone());
        let modest = ByteQueue::new(10_000, budget);
        modest.push(Bytes::from_static(b"x"));
        greedy.push(Bytes::from(vec![0; 1000]));
        assert!(!modest.has_room());
        let waiting = tokio::spawn({
            let modest = modest.clone();
            async move { modest.room().await }
        });
        tokio::task::yield_now().await;
        drop(greedy);
        waiting.await.unwrap();
    }

    #[test]
    fn a_part_takes_from_the_whole_and_gives_back_to_it() {
        let whole = Budget::new(1000);
        let (one, other) = (whole.part(900), whole.part(900));
        let greedy = ByteQueue::new(10_000, one);
        let modest = ByteQueue::new(10_000, other.clone());
        modest.push(Bytes::from_static(b"x"));
        greedy.push(Bytes::from(vec![0; 2000]));
        assert_eq!((whole.used(), other.used()), (2001, 1));
        assert_eq!(other.room(), 0);
        assert!(!modest.has_room());
        drop(greedy);
        assert_eq!(whole.used(), 1);
        assert!(modest.has_room());
    }

    #[test]
    fn an_empty_queue_always_has_room_and_a_closed_one_keeps_nothing() {
        let budget = Budget::new(10);
        let full = ByteQueue::new(10, budget.clone());
        full.push(Bytes::from(vec![0; 100]));
        let queue = ByteQueue::new(10, budget.clone());
        assert!(queue.has_room());
        full.close();
        full.push(Bytes::from(vec![0; 100]));
        assert_eq!(budget.used(), 0);
    }
}
