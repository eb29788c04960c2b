//! A socket that carries whole messages with descriptors (unix(7),
//! `SOCK_SEQPACKET`), blocking or on tokio.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The most descriptors of a message.
pub const MAX_DESCRIPTORS: usize = 8;

/// One end of a connection between two processes: `SOCK_SEQPACKET`, close on
/// exec. Blocking, unless made an [`AsyncSocket`].
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub message: T,
    /// The descriptors, close on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a message was not sent or not received.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The message is larger than [`MAX_MESSAGE`], or was cut.
    #[error("a message to or from the monitor is larger than {MAX_MESSAGE} bytes")]
    TooLarge,
    /// The request is larger than [`MAX_REQUEST`](crate::MAX_REQUEST).
    #[error("a request to the monitor is larger than {} bytes", crate::MAX_REQUEST)]
    RequestTooLarge,
    /// What came is not a message of this protocol.
    #[error("a message to or from the monitor is malformed: {0}")]
    Malformed(postcard::Error),
}

impl Socket {
    /// Two connected ends.
    ///
    /// # Errors
    /// As socketpair(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(near), Self(far)))
    }

    /// Sends a message with descriptors, whole or not at all.
    ///
    /// # Errors
    /// When it is too large, or as sendmsg(2).
    pub fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let bytes = encode(message)?;
        Ok(self.send_bytes(&bytes, descriptors)?)
    }

    /// Receives a message; `None` when the other end is closed.
    ///
    /// # Errors
    /// When it is not a message of this protocol, or as recvmsg(2).
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<Received<T>>, SocketError> {
        let Some(received) = self.receive_bytes()? else {
            return Ok(None);
        };
        Ok(Some(Received {
            message: postcard::from_bytes(&received.message).map_err(SocketError::Malformed)?,
            descriptors: received.descriptors,
        }))
    }

    pub(crate) fn send_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            let sent = sendmsg(
                &self.0,
                &[IoSlice::new(bytes)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_bytes(&self) -> Result<Option<Received<Vec<u8>>>, SocketError> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let received = recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            match received {
                Err(rustix::io::Errno::INTR) => {}
                received => break received.map_err(io::Error::from)?,
            }
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
        if received.flags.intersects(cut) {
            return Err(SocketError::TooLarge);
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        bytes.truncate(received.bytes);
        Ok(Some(Received {
            message: bytes,
            descriptors,
        }))
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A [`Socket`] for use inside a tokio runtime.
#[derive(Debug)]
pub struct AsyncSocket(AsyncFd<Socket>);

impl AsyncSocket {
    /// Makes the socket non-blocking. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(socket: Socket) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        #[expect(
            deprecated,
            reason = "unsound only for types that do not own their descriptor; ours does"
        )]
        let socket = AsyncFd::new(socket)?;
        Ok(Self(socket))
    }

    /// As [`Socket::send`]; waits for room.
    ///
    /// # Errors
    /// As for [`Socket::send`].
    pub async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let bytes = encode(message)?;
        self.send_bytes(&bytes, descriptors).await
    }

    pub(crate) async fn send_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|socket| socket.get_ref().send_bytes(bytes, descriptors)) {
                Ok(sent) => return Ok(sent?),
                Err(_would_block) => {}
            }
        }
    }

    /// As [`Socket::receive`]; waits for a message.
    ///
    /// # Errors
    /// As for [`Socket::receive`].
    pub async fn receive<T: DeserializeOwned>(&self) -> Result<Option<Received<T>>, SocketError> {
        loop {
            let mut ready = self.0.readable().await?;
            let tried = ready.try_io(|socket| match socket.get_ref().receive() {
                Err(SocketError::Io(error)) => Err(error),
                other => Ok(other),
            });
            match tried {
                Ok(received) => return received?,
                Err(_would_block) => {}
            }
        }
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, SocketError> {
    let bytes = postcard::to_stdvec(message).map_err(SocketError::Malformed)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(SocketError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Control, Event};

    #[tokio::test]
    async fn messages_and_descriptors_arrive_and_the_end_is_seen() {
        let (near, far) = Socket::pair().unwrap();
        let (one, _two) = Socket::pair().unwrap();
        let far = AsyncSocket::new(far).unwrap();
        near.send(&Control::Signal(15), &[one.as_fd()]).unwrap();
        let received = far.receive::<Control>().await.unwrap().unwrap();
        assert_eq!(received.message, Control::Signal(15));
        assert_eq!(received.descriptors.len(), 1);
        far.send(&Event::Empty, &[]).await.unwrap();
        assert_eq!(
            near.receive::<Event>().unwrap().unwrap().message,
            Event::Empty
        );
        drop(near);
        assert!(far.receive::<Control>().await.unwrap().is_none());
    }

    #[test]
    fn what_is_too_large_or_malformed_is_an_error() {
        let (near, far) = Socket::pair().unwrap();
        let large = "x".repeat(MAX_MESSAGE);
        assert!(matches!(near.send(&large, &[]), Err(SocketError::TooLarge)));
        near.send(&200u8, &[]).unwrap();
        assert!(matches!(
            far.receive::<Control>(),
            Err(SocketError::Malformed(_))
        ));
    }
}
