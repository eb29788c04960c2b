//! A stream as a byte stream whose shutdown waits for the peer's
//! acknowledgement.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use alknet_quic::{OpenStreams, StreamEnd};
use iroh::endpoint::{ConnectionError, RecvStream, SendStream, StoppedError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One bidirectional stream as a byte stream.
///
/// `poll_shutdown` announces the end of our bytes, then waits until the peer
/// has acknowledged them all, has said that it wants no more, or has closed
/// the connection; it fails if none of that happens within ten seconds. A
/// stream dropped before its shutdown is reset, so that the peer never takes
/// half a message for a whole one.
pub struct IrohStream {
    send: SendStream,
    recv: RecvStream,
    end: StreamEnd,
    count: Option<Arc<OpenStreams>>,
}

impl IrohStream {
    /// Makes one stream of its two halves.
    pub fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self {
            send,
            recv,
            end: StreamEnd::default(),
            count: None,
        }
    }

    /// Makes a stream that counts among the open ones of a connection.
    pub(crate) fn counted(halves: (SendStream, RecvStream), count: Arc<OpenStreams>) -> Self {
        let mut stream = Self::new(halves);
        stream.count = Some(count);
        stream
    }
}

impl AsyncRead for IrohStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf)
    }
}

impl AsyncWrite for IrohStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf));
        if let (Ok(bytes), Some(count)) = (&written, &self.count) {
            count.wrote(*bytes);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.end.poll_shutdown(cx, || {
            // It only fails when the stream has ended already.
            let _ = this.send.finish();
            acknowledged(this.send.stopped())
        })
    }
}

impl Drop for IrohStream {
    fn drop(&mut self) {
        if self.end.is_open() {
            // It only fails when the stream has ended already.
            let _ = self.send.reset(VarInt::from_u32(0));
        }
    }
}

impl fmt::Debug for IrohStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrohStream({})", self.send.id())
    }
}

async fn acknowledged(
    stopped: impl Future<Output = Result<Option<VarInt>, StoppedError>>,
) -> io::Result<()> {
    match stopped.await {
        Ok(_)
        | Err(StoppedError::ConnectionLost(
            ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed,
        )) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
