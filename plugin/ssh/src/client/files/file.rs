//! An open file at the server, with several requests under way at a time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::answer::{Answer, FileAttributes, read_hash};
use super::channel::{Awaited, Channel};
use super::error::{FilesError, Status};
use super::{Change, Files};
use crate::sftp_protocol::wire::Put as _;

/// An open file at the server. Dropping it closes it, if it can be told.
pub struct RemoteFile {
    files: Files,
    handle: Bytes,
    open: bool,
}

/// An answer that is on its way.
pub struct Pending<T> {
    answer: Awaited,
    read: fn(Answer) -> Result<T, FilesError>,
}

/// The extension for checksums
/// (draft-ietf-secsh-filexfer-extensions-00 section 3).
pub(super) const CHECK_FILE: &str = "check-file";
const CHECK_HANDLE: &str = "check-file-handle";
const SHA256: &str = "sha256";

const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const FSTAT: u8 = 8;
const FSETSTAT: u8 = 10;

impl RemoteFile {
    pub(super) fn new(files: Files, handle: Bytes) -> Self {
        Self {
            files,
            handle,
            open: true,
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.handle
    }

    /// Asks for bytes; fewer may come, and none at the end. So
    /// many at a time as [`Limits::read`](super::Limits::read) are given.
    ///
    /// # Errors
    /// When the server refuses, or the connection fails; the same holds for all
    /// methods below.
    pub async fn read(&self, offset: u64, length: u32) -> Result<Pending<Bytes>, FilesError> {
        let sent = self.channel().send(READ, |to| {
            to.put_string(&self.handle);
            to.put_u64(offset);
            to.put_u32(length);
        });
        Ok(Pending {
            answer: sent.await?,
            read: |answer| match answer.data() {
                Err(error) if error.status() == Some(Status::EndOfFile) => Ok(Bytes::new()),
                outcome => outcome,
            },
        })
    }

    /// Writes bytes, [`Limits::write`](super::Limits::write) of them at most.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<Pending<()>, FilesError> {
        let sent = self.channel().send(WRITE, |to| {
            to.put_string(&self.handle);
            to.put_u64(offset);
            to.put_string(data);
        });
        Ok(Pending {
            answer: sent.await?,
            read: Answer::done,
        })
    }

    /// The file's attributes.
    pub async fn stat(&self) -> Result<FileAttributes, FilesError> {
        let answer = self.channel().ask(FSTAT, |to| to.put_string(&self.handle));
        answer.await?.attributes()
    }

    /// Sets the file's size in bytes.
    pub async fn truncate(&self, size: u64) -> Result<(), FilesError> {
        self.set(Change::Size(size)).await
    }

    /// Sets the file's permission bits.
    pub async fn set_permissions(&self, permissions: u32) -> Result<(), FilesError> {
        self.set(Change::Permissions(permissions)).await
    }

    /// Sets the times of the last access and the last change, in seconds since
    /// 1970.
    pub async fn set_times(&self, times: (u32, u32)) -> Result<(), FilesError> {
        self.set(Change::Times(times)).await
    }

    /// The SHA-256 of the first `length` bytes, or of the whole file. Needs
    /// [`Files::has_checksums`].
    pub async fn sha256(&self, length: Option<u64>) -> Result<Vec<u8>, FilesError> {
        if length == Some(0) {
            return Ok(ring::digest::digest(&ring::digest::SHA256, b"")
                .as_ref()
                .to_vec());
        }
        let answer = self.files.extended(CHECK_HANDLE, |to| {
            to.put_string(&self.handle);
            to.put_string(SHA256.as_bytes());
            to.put_u64(0);
            to.put_u64(length.unwrap_or(0));
            to.put_u32(0);
        });
        read_hash(answer.await?, SHA256)
    }

    /// Closes the file. Some servers report only then what they could not
    /// write.
    pub async fn close(mut self) -> Result<(), FilesError> {
        self.open = false;
        let answer = self.channel().ask(CLOSE, |to| to.put_string(&self.handle));
        answer.await?.done()
    }

    async fn set(&self, change: Change) -> Result<(), FilesError> {
        self.files.set(FSETSTAT, &self.handle, change).await
    }

    fn channel(&self) -> &Arc<Channel> {
        &self.files.channel
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        if self.open {
            self.channel()
                .send_at_once(CLOSE, |to| to.put_string(&self.handle));
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, FilesError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.and_then(self.read))
    }
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
