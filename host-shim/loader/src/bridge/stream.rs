//! The node's byte streams as FFI-stable objects, polled from the plugin's
//! runtime.

use std::io;
use std::pin::Pin;
use std::task::Poll;

use alknet_handler::BoxStream;
use alknet_plugin_interface::abi_stable::std_types::{RSlice, RSliceMut};
use alknet_plugin_interface::async_ffi::FfiContext;
use alknet_plugin_interface::{ByteStream, IoFault, IoFaultKind, PollIo, guard, guarded_drop};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

/// A stream of the node, for a plugin to poll from its own runtime.
pub(super) struct PluginStream {
    // Taken when dropped.
    inner: Option<BoxStream>,
    runtime: Handle,
}

impl PluginStream {
    pub(super) fn new(inner: BoxStream, runtime: Handle) -> Self {
        Self {
            inner: Some(inner),
            runtime,
        }
    }

    /// Runs one poll of the stream, guarded.
    fn poll(&mut self, poll: impl FnOnce(Pin<&mut BoxStream>) -> PollIo) -> PollIo {
        match &mut self.inner {
            Some(inner) => guard(|| poll(Pin::new(inner)), panicked),
            None => PollIo::Ready(0),
        }
    }
}

impl Drop for PluginStream {
    fn drop(&mut self) {
        // The plugin drops it, from its own threads.
        let _inside = self.runtime.enter();
        guarded_drop(self.inner.take());
    }
}

impl ByteStream for PluginStream {
    fn poll_read(&mut self, cx: &mut FfiContext<'_>, mut buf: RSliceMut<'_, u8>) -> PollIo {
        self.poll(|stream| {
            let mut buf = ReadBuf::new(buf.as_mut_slice());
            match cx.with_context(|cx| stream.poll_read(cx, &mut buf)) {
                Poll::Pending => PollIo::Pending,
                Poll::Ready(Ok(())) => PollIo::Ready(buf.filled().len()),
                Poll::Ready(Err(error)) => PollIo::Failed(fault(&error)),
            }
        })
    }

    fn poll_write(&mut self, cx: &mut FfiContext<'_>, buf: RSlice<'_, u8>) -> PollIo {
        self.poll(
            |stream| match cx.with_context(|cx| stream.poll_write(cx, buf.as_slice())) {
                Poll::Pending => PollIo::Pending,
                Poll::Ready(Ok(written)) => PollIo::Ready(written),
                Poll::Ready(Err(error)) => PollIo::Failed(fault(&error)),
            },
        )
    }

    fn poll_flush(&mut self, cx: &mut FfiContext<'_>) -> PollIo {
        self.poll(|stream| done(cx.with_context(|cx| stream.poll_flush(cx))))
    }

    fn poll_shutdown(&mut self, cx: &mut FfiContext<'_>) -> PollIo {
        let runtime = self.runtime.clone();
        self.poll(|stream| {
            // A transport may wait here with a timer, which needs to find the
            // node's runtime whoever polls.
            let _inside = runtime.enter();
            done(cx.with_context(|cx| stream.poll_shutdown(cx)))
        })
    }
}

fn done(polled: Poll<io::Result<()>>) -> PollIo {
    match polled {
        Poll::Pending => PollIo::Pending,
        Poll::Ready(Ok(())) => PollIo::Ready(0),
        Poll::Ready(Err(error)) => PollIo::Failed(fault(&error)),
    }
}

fn panicked(message: &str) -> PollIo {
    PollIo::Failed(IoFault {
        kind: IoFaultKind::Other,
        message: format!("the node's stream panicked: {message}").into(),
    })
}

fn fault(error: &io::Error) -> IoFault {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionReset => IoFaultKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted => IoFaultKind::ConnectionAborted,
        io::ErrorKind::NotConnected => IoFaultKind::NotConnected,
        io::ErrorKind::BrokenPipe => IoFaultKind::BrokenPipe,
        io::ErrorKind::TimedOut => IoFaultKind::TimedOut,
        io::ErrorKind::UnexpectedEof => IoFaultKind::UnexpectedEof,
        _ => IoFaultKind::Other,
    };
    IoFault {
        kind,
        message: error.to_string().into(),
    }
}
