//! Output that has come from the server and was not read yet.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use crate::connection::queue::ByteQueue;

/// Bytes kept of output nobody reads, for one stream of a command, before the whole
/// connection is held back: russh's client asks nobody before it grants the server more.
pub(super) const UNREAD_OUTPUT: usize = 16 << 20;

/// The bytes of one stream that have come and were not read yet.
#[derive(Debug)]
pub(super) struct Unread {
    queue: ByteQueue,
    /// The rest of the chunk that was taken last.
    rest: Bytes,
}

impl Unread {
    pub(super) fn new(queue: ByteQueue) -> Self {
        Self {
            queue,
            rest: Bytes::new(),
        }
    }

    /// Reads into `buf`; `false` at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<bool> {
        if self.rest.is_empty() {
            match ready!(self.queue.poll_pop(cx)) {
                Some(chunk) => self.rest = chunk,
                None => return Poll::Ready(false),
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.copy_to_bytes(length));
        Poll::Ready(true)
    }

    /// The next bytes, as they came; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.queue.pop().await
        } else {
            Some(std::mem::take(&mut self.rest))
        }
    }

    /// Throws away what still comes.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}
