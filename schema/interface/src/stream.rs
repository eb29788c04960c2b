//! A byte stream as it crosses the boundary: polled like `AsyncRead` and
//! `AsyncWrite`.

use abi_stable::std_types::{RBox, RSlice, RSliceMut, RString};
use abi_stable::{StableAbi, sabi_trait};
use async_ffi::FfiContext;

/// A bidirectional, reliable, ordered byte stream: `AsyncRead` and
/// `AsyncWrite` in FFI-stable form, with the same contract for wakers.
#[sabi_trait]
pub trait ByteStream: Send + 'static {
    /// Reads into `buf`; `Ready(0)` for a non-empty `buf` is the end of the
    /// stream.
    fn poll_read(&mut self, cx: &mut FfiContext<'_>, buf: RSliceMut<'_, u8>) -> PollIo;

    /// Writes from `buf`; `Ready(n)` says how much was taken.
    fn poll_write(&mut self, cx: &mut FfiContext<'_>, buf: RSlice<'_, u8>) -> PollIo;

    /// Hands what is buffered to the transport. `Ready(0)` when done.
    fn poll_flush(&mut self, cx: &mut FfiContext<'_>) -> PollIo;

    /// Ends our direction; ready once the peer has everything or is gone.
    /// `Ready(0)` when done.
    #[sabi(last_prefix_field)]
    fn poll_shutdown(&mut self, cx: &mut FfiContext<'_>) -> PollIo;
}

/// An owned [`ByteStream`].
pub type ByteStreamObject = ByteStream_TO<RBox<()>>;

/// The outcome of polling a [`ByteStream`].
#[repr(u8)]
#[derive(StableAbi, Debug)]
pub enum PollIo {
    /// Not ready; the waker of the context will be woken.
    Pending,
    /// Done; the number of bytes moved.
    Ready(usize),
    /// The stream failed.
    Failed(IoFault),
}

/// Why a stream failed.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct IoFault {
    /// What kind of failure.
    pub kind: IoFaultKind,
    /// The failure described.
    pub message: RString,
}

/// The kinds of `std::io::ErrorKind` that make a difference to a protocol.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoFaultKind {
    /// Any other kind.
    Other,
    /// The peer reset the stream.
    ConnectionReset,
    /// The connection is closed.
    ConnectionAborted,
    /// Nothing is connected.
    NotConnected,
    /// The peer takes no more data.
    BrokenPipe,
    /// The peer went silent.
    TimedOut,
    /// The stream ended in the middle of something.
    UnexpectedEof,
}
