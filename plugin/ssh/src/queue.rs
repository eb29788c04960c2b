use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

/// What keeping one chunk costs beside its bytes.
const CHUNK_OVERHEAD: usize = 128;

/// Bytes on their way from an SSH channel to whoever consumes them. One
/// producer, one consumer. The producer asks for [`room`](Self::room) before
/// it takes more from the channel; a queue never refuses what it is given.
#[derive(Clone, Debug)]
pub(crate) struct ByteQueue(Arc<Shared>);

/// How much all queues of one SSH connection may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    limit: usize,
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
    size: usize,
    /// No more will be pushed.
    finished: bool,
    /// Nobody will take any more: what is pushed is thrown away.
    closed: bool,
    consumer: Option<Waker>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(BudgetState {
            limit,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    fn give_back(&self, size: usize) {
        if size > 0 {
            self.0.used.fetch_sub(size, Ordering::AcqRel);
            self.0.freed.notify_waiters();
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
        let size = chunk.len() + CHUNK_OVERHEAD;
        state.size += size;
        self.0.budget.0.used.fetch_add(size, Ordering::AcqRel);
        state.chunks.push_back(chunk);
        wake(state);
    }

    /// No more will come; the consumer sees the end after what is queued.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        wake(state);
    }

    /// Nobody takes from this queue any more; frees what it holds.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.chunks.clear();
        let size = std::mem::take(&mut state.size);
        drop(state);
        self.0.budget.give_back(size);
        self.0.taken.notify_one();
    }

    /// Whether the limits of this queue and of the session allow more.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        let budget = &self.0.budget.0;
        state.closed
            || state.size == 0
            || (state.size < self.0.limit && budget.used.load(Ordering::Acquire) < budget.limit)
    }

    /// Completes when the limits allow more.
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
        if let Some(chunk) = state.chunks.pop_front() {
            let size = chunk.len() + CHUNK_OVERHEAD;
            state.size = state.size.saturating_sub(size);
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
        queue.push(Bytes::from_static(b"a"));
        queue.push(Bytes::from_static(b"b"));
        queue.finish();
        assert_eq!(queue.pop().await.unwrap(), "a");
        assert_eq!(queue.pop().await.unwrap(), "b");
        assert_eq!(queue.pop().await, None);
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
    fn an_empty_queue_always_has_room_and_a_closed_one_keeps_nothing() {
        let budget = Budget::new(10);
        let full = ByteQueue::new(10, budget.clone());
        full.push(Bytes::from(vec![0; 100]));
        let queue = ByteQueue::new(10, budget.clone());
        assert!(queue.has_room());
        full.close();
        full.push(Bytes::from(vec![0; 100]));
        assert_eq!(budget.0.used.load(Ordering::Acquire), 0);
    }
}
