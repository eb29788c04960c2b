//! The byte stream of a forwarded channel (RFC 4254 section 7).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::unread::{UNREAD_OUTPUT, Unread};
use crate::connection::queue::{Budget, ByteQueue};

/// A byte stream to a target that the server connected us with, or that the
/// server took in for us (RFC 4254 section 7).
///
/// `poll_shutdown` ends our direction alone. Reading fails, rather than ends,
/// when the connection is lost before the target has ended its direction.
/// Dropping the stream closes the channel after what was written. More than
/// 16 MiB that nobody reads hold up everything else on the same connection.
pub struct ChannelStream {
    unread: Unread,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    ended: bool,
    /// Completes when the server has closed the channel: a write would then
    /// wait for good.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    lost: CancellationToken,
    _close_on_drop: DropGuard,
}

impl ChannelStream {
    pub(super) fn new(channel: Channel<Msg>, budget: &Budget) -> Self {
        let (reader, writer) = channel.split();
        let queue = ByteQueue::new(UNREAD_OUTPUT, budget.clone());
        let closed = CancellationToken::new();
        let lost = CancellationToken::new();
        let dropped = CancellationToken::new();
        let stream = Self {
            unread: Unread::new(queue.clone()),
            writer: Box::pin(writer.make_writer()),
            ended: false,
            closed: Box::pin(closed.clone().cancelled_owned()),
            lost: lost.clone(),
            _close_on_drop: dropped.clone().drop_guard(),
        };
        tokio::spawn(async move {
            let _closed = closed.drop_guard();
            if !follow(reader, &queue, writer, dropped).await {
                lost.cancel();
            }
            queue.finish();
        });
        stream
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let more = ready!(self.unread.poll_read(cx, buf));
        if !more && self.lost.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.ended || self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended || self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(self.writer.as_mut().poll_shutdown(cx));
        self.ended = true;
        Poll::Ready(outcome)
    }
}

impl std::fmt::Debug for ChannelStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelStream").finish_non_exhaustive()
    }
}

/// Follows the channel to its end. Returns whether it ended in order, by the
/// target or by us, rather than because the connection failed.
async fn follow(
    mut reader: ChannelReadHalf,
    queue: &ByteQueue,
    writer: ChannelWriteHalf<Msg>,
    dropped: CancellationToken,
) -> bool {
    let mut ended = false;
    loop {
        let next = async {
            queue.room().await;
            reader.wait().await
        };
        let message = tokio::select! {
            message = next => message,
            () = dropped.cancelled(), if !queue.is_closed() => {
                queue.close();
                let _ = writer.close().await;
                continue;
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => queue.push(data),
            Some(ChannelMsg::Eof) => {
                ended = true;
                queue.finish();
            }
            Some(ChannelMsg::Close) => return true,
            Some(_) => {}
            None => return ended,
        }
    }
}
