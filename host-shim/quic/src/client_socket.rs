//! A client's UDP socket that can repeat its last datagram and change its port
//! below QUIC.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// A client's UDP socket, which keeps the last datagram it sent, to send it
/// again, and can change to another port without a word to QUIC.
///
/// QUIC is not told because it would take another connection ID for the new
/// path and then, with a full congestion window, send nothing there: a node
/// that has restarted could not answer with a reset that is believed (RFC 9000
/// section 10.3).
#[derive(Debug)]
pub(crate) struct ClientSocket {
    system: RwLock<SystemSocket>,
    last: Mutex<Last>,
    /// The waker of the task that waits for datagrams.
    reader: Mutex<Option<Waker>>,
}

/// A socket of the system, with a number that grows with each change.
#[derive(Debug, Clone)]
struct SystemSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    number: u64,
}

#[derive(Debug, Default)]
struct Last {
    to: Option<SocketAddr>,
    datagram: Vec<u8>,
}

impl ClientSocket {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self {
            system: RwLock::new(SystemSocket { inner, number: 0 }),
            last: Mutex::default(),
            reader: Mutex::default(),
        }
    }

    /// Sends and receives by another socket from now on. What was on its way to
    /// the old one is lost.
    pub(crate) fn change(&self, inner: Arc<dyn AsyncUdpSocket>) {
        {
            let mut system = self.system.write().unwrap_or_else(PoisonError::into_inner);
            system.number += 1;
            system.inner = inner;
        }
        if let Some(reader) = lock(&self.reader).take() {
            reader.wake();
        }
    }

    /// Sends the last datagram once more, if there was one. A failure to send
    /// it is ignored: any network may lose a datagram.
    pub(crate) fn resend(&self) {
        let last = lock(&self.last);
        let Some(destination) = last.to else { return };
        let _ = self.system().inner.try_send(&Transmit {
            destination,
            ecn: None,
            contents: &last.datagram,
            segment_size: None,
            src_ip: None,
        });
    }

    fn system(&self) -> SystemSocket {
        let system = self.system.read().unwrap_or_else(PoisonError::into_inner);
        system.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncUdpSocket for ClientSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let system = self.system();
        Box::pin(Poller {
            number: system.number,
            inner: system.inner.create_io_poller(),
            socket: self,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.system().inner.try_send(transmit)?;
        // Of several in one go the first will do.
        let contents = transmit.contents;
        let first = transmit.segment_size.unwrap_or(contents.len());
        let mut last = lock(&self.last);
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
        // First, so that no change of the socket goes unnoticed.
        {
            let mut reader = lock(&self.reader);
            if !reader
                .as_ref()
                .is_some_and(|reader| reader.will_wake(cx.waker()))
            {
                *reader = Some(cx.waker().clone());
            }
        }
        self.system().inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.system().inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.system().inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.system().inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.system().inner.may_fragment()
    }
}

/// Waits until the socket of the moment can send.
#[derive(Debug)]
struct Poller {
    socket: Arc<ClientSocket>,
    /// The number of the socket that `inner` polls.
    number: u64,
    inner: Pin<Box<dyn UdpPoller>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let system = self.socket.system();
        if system.number != self.number {
            self.number = system.number;
            self.inner = system.inner.create_io_poller();
        }
        self.inner.as_mut().poll_writable(cx)
    }
}
