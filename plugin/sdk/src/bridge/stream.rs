//! The node's byte streams as tokio's `AsyncRead` and `AsyncWrite`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use alknet_plugin_interface::abi_stable::std_types::{RSlice, RSliceMut};
use alknet_plugin_interface::async_ffi::ContextExt;
use alknet_plugin_interface::{ByteStreamObject, IoFault, IoFaultKind, PollIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of the node, as tokio's traits.
pub(super) struct NodeStream(pub(super) ByteStreamObject);

// What is behind the object stays where it is, whatever happens to the object.
impl Unpin for NodeStream {}

impl AsyncRead for NodeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unfilled = buf.initialize_unfilled();
        let room = unfilled.len();
        let polled = cx.with_ffi_context(|cx| {
            self.0
                .poll_read(cx, RSliceMut::from_mut_slice(&mut *unfilled))
        });
        into_poll(polled, room).map_ok(|read| buf.advance(read))
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = cx.with_ffi_context(|cx| self.0.poll_write(cx, RSlice::from_slice(buf)));
        into_poll(polled, buf.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = cx.with_ffi_context(|cx| self.0.poll_flush(cx));
        into_poll(polled, 0).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = cx.with_ffi_context(|cx| self.0.poll_shutdown(cx));
        into_poll(polled, 0).map_ok(drop)
    }
}

/// The outcome as tokio has it. More bytes than there was room for would be a
/// fault of the other side; it must not become one of ours.
fn into_poll(polled: PollIo, room: usize) -> Poll<io::Result<usize>> {
    match polled {
        PollIo::Pending => Poll::Pending,
        PollIo::Ready(moved) if moved <= room => Poll::Ready(Ok(moved)),
        PollIo::Ready(moved) => Poll::Ready(Err(io::Error::other(format!(
            "the node's stream moved {moved} bytes where {room} were asked for"
        )))),
        PollIo::Failed(fault) => Poll::Ready(Err(into_error(fault))),
    }
}

fn into_error(fault: IoFault) -> io::Error {
    let kind = match fault.kind {
        IoFaultKind::Other => io::ErrorKind::Other,
        IoFaultKind::ConnectionReset => io::ErrorKind::ConnectionReset,
        IoFaultKind::ConnectionAborted => io::ErrorKind::ConnectionAborted,
        IoFaultKind::NotConnected => io::ErrorKind::NotConnected,
        IoFaultKind::BrokenPipe => io::ErrorKind::BrokenPipe,
        IoFaultKind::TimedOut => io::ErrorKind::TimedOut,
        IoFaultKind::UnexpectedEof => io::ErrorKind::UnexpectedEof,
    };
    io::Error::new(kind, fault.message.into_string())
}
