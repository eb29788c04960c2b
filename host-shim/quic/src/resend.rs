use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// A UDP socket that keeps the last datagram it sent, to send it again.
#[derive(Debug)]
pub(crate) struct RememberingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    to: Option<SocketAddr>,
    datagram: Vec<u8>,
}

impl RememberingSocket {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self {
            inner,
            last: Mutex::default(),
        }
    }

    /// Sends the last datagram once more, if there was one. That it does not
    /// leave is what any network may do to it.
    pub(crate) fn resend(&self) {
        let last = self.last();
        let Some(destination) = last.to else { return };
        let _ = self.inner.try_send(&Transmit {
            destination,
            ecn: None,
            contents: &last.datagram,
            segment_size: None,
            src_ip: None,
        });
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncUdpSocket for RememberingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        // Of several in one go the first will do.
        let contents = transmit.contents;
        let first = transmit.segment_size.unwrap_or(contents.len());
        let mut last = self.last();
        last.to = Some(transmit.destination);
        last.datagram.clear();
        let first = contents.get(..first).unwrap_or(contents);
        last.datagram.extend_from_slice(first);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
