//! Standard input, output and error, read and written without blocking and
//! without threads.

use std::future::pending;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::{Buf as _, Bytes};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// Standard input or the like, read without a helper thread.
pub(crate) struct Input(Descriptor);

impl Input {
    pub(crate) fn stdin() -> io::Result<Self> {
        Self::of(rustix::stdio::stdin())
    }

    /// An input that reads from another descriptor.
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        Descriptor::new(fd.as_fd(), Interest::READABLE).map(Self)
    }

    /// Reads the bytes that are there, at most [`READ_SIZE`]; empty at the end.
    pub(crate) async fn read(&self) -> io::Result<Bytes> {
        let mut data = Vec::with_capacity(READ_SIZE);
        self.0
            .with(Interest::READABLE, |fd| {
                let read = rustix::io::read(fd, rustix::buffer::spare_capacity(&mut data))?;
                Ok(read)
            })
            .await?;
        Ok(data.into())
    }
}

/// Standard output, error or the like, written without a helper thread.
pub(crate) struct Output(Descriptor);

impl Output {
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::of(rustix::stdio::stdout())
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Self::of(rustix::stdio::stderr())
    }

    /// An output that writes to another descriptor.
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        Descriptor::new(fd.as_fd(), Interest::WRITABLE).map(Self)
    }

    /// Writes all of `chunks`, in order. They are empty afterwards.
    pub(crate) async fn write_all(&self, mut chunks: &mut [Bytes]) -> io::Result<()> {
        loop {
            let done = chunks.iter().take_while(|chunk| chunk.is_empty()).count();
            chunks = std::mem::take(&mut chunks)
                .get_mut(done..)
                .unwrap_or_default();
            if chunks.is_empty() {
                return Ok(());
            }
            let slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
            let mut written = self
                .0
                .with(Interest::WRITABLE, |fd| {
                    Ok(rustix::io::writev(fd, &slices)?)
                })
                .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            for chunk in chunks.iter_mut() {
                let part = written.min(chunk.len());
                chunk.advance(part);
                written -= part;
            }
        }
    }

    /// Completes when nobody can read any more what is written here; never for
    /// what has no reader at the other end, such as a file.
    pub(crate) async fn reader_gone(&self) {
        if let Source::Polled(fd) = &self.0.source
            && fd.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
        pending().await
    }
}

/// The bytes of one read: below the size (128 KiB with glibc) from which the
/// allocator asks the kernel for each buffer.
const READ_SIZE: usize = 96 * 1024;

/// The size that pipes are given: more than the usual 64 KiB, so that either
/// side is woken less often.
const PIPE_SIZE: usize = 256 * 1024;

/// A duplicate of a descriptor, made non-blocking while it lives.
///
/// The flag belongs to the open file, which others share (the shell on our
/// terminal, say), so it is put back in the end.
struct Descriptor {
    source: Source,
    flags_before: Option<OFlags>,
}

enum Source {
    Polled(AsyncFd<OwnedFd>),
    /// A regular file or the like: it cannot be polled, nor does it keep
    /// anyone waiting.
    Direct(OwnedFd),
}

impl Descriptor {
    fn new(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        let flags = fcntl_getfl(&fd)?;
        match poll(fd, interest) {
            Ok(fd) => {
                let blocking = !flags.contains(OFlags::NONBLOCK);
                if blocking {
                    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
                }
                // Fails on what is not a pipe, and beyond the system's limit.
                let _ = fcntl_setpipe_size(&fd, PIPE_SIZE);
                Ok(Self {
                    source: Source::Polled(fd),
                    flags_before: blocking.then_some(flags),
                })
            }
            Err(error) => {
                let (fd, cause) = error.into_parts();
                if cause.kind() != io::ErrorKind::PermissionDenied {
                    return Err(cause);
                }
                Ok(Self {
                    source: Source::Direct(fd),
                    flags_before: None,
                })
            }
        }
    }

    async fn with<R>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        match &self.source {
            Source::Polled(fd) => {
                fd.async_io(interest, |fd| uninterrupted(|| operation(fd.as_fd())))
                    .await
            }
            Source::Direct(fd) => {
                // A long file must not starve the connection.
                tokio::task::yield_now().await;
                uninterrupted(|| operation(fd.as_fd()))
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "tokio's replacement is unsafe for the sake of types that may give away their descriptor; an OwnedFd does not"
)]
fn poll(
    fd: OwnedFd,
    interest: Interest,
) -> Result<AsyncFd<OwnedFd>, AsyncFdRegisterError<OwnedFd>> {
    AsyncFd::try_with_interest(fd, interest)
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let (Source::Polled(fd), Some(flags)) = (&self.source, self.flags_before) {
            // There is nothing to be done about a failure.
            let _ = fcntl_setfl(fd, flags);
        }
    }
}

fn uninterrupted<R>(mut operation: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
