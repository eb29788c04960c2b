//! Requests that do not fit into a message travel in a descriptor: a sealed
//! memfd (memfd_create(2)), which nobody can change or grow any more.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use crate::{AsyncSocket, MAX_MESSAGE, Received, Request, Socket, SocketError};

/// The largest [`Request`], in bytes.
pub const MAX_REQUEST: usize = 1024 * 1024;

/// What is sent for a request.
enum Parcel {
    Message(Vec<u8>),
    Enclosed(OwnedFd),
}

impl Parcel {
    fn of(request: &Request) -> Result<Self, SocketError> {
        let bytes = postcard::to_stdvec(request).map_err(SocketError::Malformed)?;
        if bytes.len() <= MAX_MESSAGE {
            Ok(Self::Message(bytes))
        } else if bytes.len() <= MAX_REQUEST {
            Ok(Self::Enclosed(enclose(&bytes)?))
        } else {
            Err(SocketError::RequestTooLarge)
        }
    }
}

impl Socket {
    /// Sends a request with its descriptors, whole or not at all.
    ///
    /// # Errors
    /// When it is larger than [`MAX_REQUEST`], or as sendmsg(2).
    pub fn send_request(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        match Parcel::of(request)? {
            Parcel::Message(bytes) => Ok(self.send_bytes(&bytes, descriptors)?),
            Parcel::Enclosed(file) => self.send(&Request::Enclosed, &with(descriptors, &file)),
        }
    }
}

impl AsyncSocket {
    /// As [`Socket::send_request`]; waits for room.
    ///
    /// # Errors
    /// As for [`Socket::send_request`].
    pub async fn send_request(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        match Parcel::of(request)? {
            Parcel::Message(bytes) => self.send_bytes(&bytes, descriptors).await,
            Parcel::Enclosed(file) => {
                let descriptors = with(descriptors, &file);
                self.send(&Request::Enclosed, &descriptors).await
            }
        }
    }
}

impl Received<Request> {
    /// The request itself, which may have come in its last descriptor.
    ///
    /// # Errors
    /// When that descriptor does not hold one, or others could change it.
    pub fn opened(mut self) -> Result<Self, SocketError> {
        if self.message != Request::Enclosed {
            return Ok(self);
        }
        let file = self.descriptors.pop().ok_or_else(not_sealed)?;
        let message = postcard::from_bytes(&open(file)?).map_err(SocketError::Malformed)?;
        if message == Request::Enclosed {
            return Err(not_sealed().into());
        }
        Ok(Self {
            message,
            descriptors: self.descriptors,
        })
    }
}

fn with<'a>(descriptors: &[BorrowedFd<'a>], file: &'a OwnedFd) -> Vec<BorrowedFd<'a>> {
    [descriptors, &[file.as_fd()]].concat()
}

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

fn enclose(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("request", flags)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, seals())?;
    Ok(file.into())
}

fn open(file: OwnedFd) -> Result<Vec<u8>, SocketError> {
    // Only a memfd has seals: reading it waits for nobody.
    if !fcntl_get_seals(&file).is_ok_and(|found| found.contains(seals())) {
        return Err(not_sealed().into());
    }
    let file = File::from(file);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > MAX_REQUEST {
        return Err(SocketError::RequestTooLarge);
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn not_sealed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "an enclosed request is not in a sealed memfd",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobFilter;

    fn named(length: usize) -> Request {
        Request::Jobs(JobFilter {
            identity: Some("x".repeat(length)),
            ..JobFilter::default()
        })
    }

    #[test]
    fn a_request_of_any_length_up_to_the_bound_arrives() {
        let (near, far) = Socket::pair().unwrap();
        let (answers, _) = Socket::pair().unwrap();
        for length in [1, MAX_MESSAGE, MAX_REQUEST - 100] {
            let request = named(length);
            near.send_request(&request, &[answers.as_fd()]).unwrap();
            let received = far.receive::<Request>().unwrap().unwrap();
            let received = received.opened().unwrap();
            assert_eq!(received.message, request);
            assert_eq!(received.descriptors.len(), 1);
        }
        let sent = near.send_request(&named(MAX_REQUEST), &[]);
        assert!(matches!(sent, Err(SocketError::RequestTooLarge)));
    }

    #[test]
    fn what_others_could_change_is_not_taken_for_a_request() {
        let open = |file: OwnedFd| {
            let received = Received {
                message: Request::Enclosed,
                descriptors: vec![file],
            };
            received.opened().unwrap_err()
        };
        let plain = memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        open(plain);
        let (one, _) = Socket::pair().unwrap();
        open(one.into());
        let nested = postcard::to_stdvec(&Request::Enclosed).unwrap();
        open(enclose(&nested).unwrap());
        assert!(matches!(
            open(enclose(&vec![0; MAX_REQUEST + 1]).unwrap()),
            SocketError::RequestTooLarge
        ));
    }
}
