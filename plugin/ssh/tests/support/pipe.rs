//! An in-memory pipe that can go wrong at a given place.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// What happens once a number of bytes has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reads wait for ever; writes go on.
    StallReads,
    /// Writes wait for ever; reads go on.
    StallWrites,
    /// The other side's end of data, while writes go on.
    HalfClose,
    /// Reads and writes fail.
    Break,
}

/// One end of a duplex pipe, with a fault.
#[derive(Debug)]
pub struct FaultyPipe {
    inner: DuplexStream,
    fault: Fault,
    left: usize,
}

impl FaultyPipe {
    pub fn new(inner: DuplexStream, fault: Fault, after: usize) -> Self {
        Self {
            inner,
            fault,
            left: after,
        }
    }

    fn broken(&self) -> bool {
        self.left == 0
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for FaultyPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken() {
            return match self.fault {
                Fault::StallReads => Poll::Pending,
                Fault::HalfClose => Poll::Ready(Ok(())),
                Fault::Break => reset(),
                Fault::StallWrites => Pin::new(&mut self.inner).poll_read(cx, buf),
            };
        }
        let mut limited = buf.take(self.left);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut limited))?;
        let read = limited.filled().len();
        self.left -= read;
        // The bytes are in `buf`'s memory; say so by way of safe code.
        let bytes = limited.filled().to_vec();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FaultyPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.fault {
            Fault::Break if self.broken() => reset(),
            Fault::StallWrites if self.broken() => Poll::Pending,
            _ => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fault {
            Fault::StallWrites if self.broken() => Poll::Pending,
            _ => Pin::new(&mut self.inner).poll_shutdown(cx),
        }
    }
}
