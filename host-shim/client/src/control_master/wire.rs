//! Messages over a Unix socket, and descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{FrameError, LONGEST, Message};

/// The most descriptors that a message may bring.
const DESCRIPTORS: usize = 3;
const READ_SIZE: usize = 8 * 1024;

/// The messages that come from the other process.
pub(crate) struct FrameReader {
    stream: Arc<UnixStream>,
    unread: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// The messages that go to the other process.
pub(crate) struct FrameWriter {
    stream: Arc<UnixStream>,
}

/// Both directions to the process at the other end, which must be one of this
/// user's.
pub(crate) fn wire(stream: UnixStream) -> io::Result<(FrameReader, FrameWriter)> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        let other = "the process at the other end belongs to another user";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, other));
    }
    let stream = Arc::new(stream);
    let writer = FrameWriter {
        stream: Arc::clone(&stream),
    };
    let reader = FrameReader {
        stream,
        unread: Vec::new(),
        descriptors: Vec::new(),
    };
    Ok((reader, writer))
}

impl FrameReader {
    /// The next message; `None` when the other process has gone. Nothing is
    /// lost when the future is dropped before it completes.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.unpack()? {
                return Ok(Some(message));
            }
            if self.read().await? == 0 {
                return if self.unread.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The descriptors that came so far.
    pub(crate) fn descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    fn unpack(&mut self) -> io::Result<Option<Message>> {
        let Some((length, rest)) = self.unread.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(garbled(FrameError));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        let message = Message::decode(frame).map_err(garbled)?;
        self.unread.drain(..4 + length);
        Ok(Some(message))
    }

    async fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_SIZE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let descriptors = &mut self.descriptors;
        let read = self
            .stream
            .async_io(Interest::READABLE, || {
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut buffers = [IoSliceMut::new(&mut bytes)];
                let received = recvmsg(
                    self.stream.as_fd(),
                    &mut buffers,
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = message {
                        descriptors.extend(received);
                    }
                }
                Ok(received.bytes)
            })
            .await?;
        if self.descriptors.len() > DESCRIPTORS {
            return Err(garbled(FrameError));
        }
        self.unread
            .extend_from_slice(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl FrameWriter {
    /// Sends a message. Half of it may be sent if the future is dropped before
    /// it completes.
    pub(crate) async fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[]).await
    }

    /// Sends a message with descriptors, at most three.
    pub(crate) async fn send_with(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let frame = message.encode().map_err(garbled)?;
        if frame.len() > 4 + LONGEST {
            return Err(io::Error::other("more is to be said than a message holds"));
        }
        let mut rest = frame.as_slice();
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    let mut space =
                        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if !descriptors.is_empty()
                        && !control.push(SendAncillaryMessage::ScmRights(descriptors))
                    {
                        return Err(io::ErrorKind::InvalidInput.into());
                    }
                    let part = [IoSlice::new(rest)];
                    let flags = SendFlags::NOSIGNAL;
                    Ok(sendmsg(self.stream.as_fd(), &part, &mut control, flags)?)
                })
                .await?;
            rest = rest.get(sent..).unwrap_or_default();
            descriptors = &[];
        }
        Ok(())
    }
}

fn garbled(garbled: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_a_long_message() {
        let (near, far) = UnixStream::pair().unwrap();
        let (_, writer) = wire(near).unwrap();
        let (mut reader, _far) = wire(far).unwrap();
        let long = Message::Refused("x".repeat(LONGEST - 100));
        let standard = [rustix::stdio::stdin(), rustix::stdio::stdout()];
        let (sent, heard) = tokio::join!(writer.send_with(&long, &standard), reader.next());
        sent.unwrap();
        assert!(matches!(heard.unwrap(), Some(Message::Refused(_))));
        assert_eq!(reader.descriptors().len(), 2);
        assert!(reader.descriptors().is_empty());
        let longer = Message::Refused("x".repeat(LONGEST));
        assert!(writer.send(&longer).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for bytes in [&[255; 8][..], &[0, 0, 0, 1, 200]] {
            let (near, far) = UnixStream::pair().unwrap();
            near.try_write(bytes).unwrap();
            let (mut reader, _telling) = wire(far).unwrap();
            assert!(reader.next().await.is_err());
        }
        let (near, far) = UnixStream::pair().unwrap();
        near.try_write(&[0, 0, 0, 9, 2]).unwrap();
        drop(near);
        let (mut reader, _telling) = wire(far).unwrap();
        assert!(reader.next().await.is_err(), "half a message");
    }
}
