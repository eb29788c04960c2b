//! A [`ByteStream`](crate::ByteStream) from an `async fn`, on any runtime: for
//! plugins that do not wrap it in their runtime's own traits.

use std::future::poll_fn;
use std::task::{Context, Poll};

use abi_stable::std_types::{RSlice, RSliceMut};
use async_ffi::ContextExt;

use crate::{ByteStreamObject, IoFault, IoFaultKind, PollIo};

/// Reads what there is, at least one byte unless `buffer` is empty; 0 is the
/// end of the stream.
///
/// # Errors
/// When the stream failed.
pub async fn read(stream: &mut ByteStreamObject, buffer: &mut [u8]) -> Result<usize, IoFault> {
    let room = buffer.len();
    let read = completed(|cx| {
        cx.with_ffi_context(|cx| stream.poll_read(cx, RSliceMut::from_mut_slice(buffer)))
    });
    within(read.await?, room)
}

/// Writes all of `bytes`.
///
/// # Errors
/// When the stream failed; some of the bytes may have left.
pub async fn write_all(stream: &mut ByteStreamObject, bytes: &[u8]) -> Result<(), IoFault> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = completed(|cx| {
            cx.with_ffi_context(|cx| stream.poll_write(cx, RSlice::from_slice(rest)))
        });
        match within(written.await?, rest.len())? {
            0 => return Err(fault("the stream takes no more bytes")),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Hands what is buffered to the transport.
///
/// # Errors
/// When the stream failed.
pub async fn flush(stream: &mut ByteStreamObject) -> Result<(), IoFault> {
    let flushed = completed(|cx| cx.with_ffi_context(|cx| stream.poll_flush(cx)));
    flushed.await.map(drop)
}

/// Ends our direction; completes once the peer has everything or is gone.
///
/// # Errors
/// When the stream failed.
pub async fn shutdown(stream: &mut ByteStreamObject) -> Result<(), IoFault> {
    let ended = completed(|cx| cx.with_ffi_context(|cx| stream.poll_shutdown(cx)));
    ended.await.map(drop)
}

async fn completed(mut poll: impl FnMut(&mut Context<'_>) -> PollIo) -> Result<usize, IoFault> {
    poll_fn(|cx| match poll(cx) {
        PollIo::Pending => Poll::Pending,
        PollIo::Ready(moved) => Poll::Ready(Ok(moved)),
        PollIo::Failed(fault) => Poll::Ready(Err(fault)),
    })
    .await
}

/// Fails where more bytes were moved than there was room for: that is a fault
/// of the other side and must not become one of ours.
fn within(moved: usize, room: usize) -> Result<usize, IoFault> {
    if moved > room {
        return Err(fault("the stream moved more bytes than it was asked for"));
    }
    Ok(moved)
}

fn fault(message: &str) -> IoFault {
    IoFault {
        kind: IoFaultKind::Other,
        message: message.into(),
    }
}
