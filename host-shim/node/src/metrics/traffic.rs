//! How much each peer sent and was sent since the node started.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::state::last_logins;

/// The most peers that are counted one by one; the rest only in the sum.
const MOST: usize = 10_000;

/// Bytes of all streams, with what a protocol like SSH adds to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// From the peer.
    pub(crate) received: u64,
    /// To the peer.
    pub(crate) sent: u64,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    fn add(&self, traffic: Traffic) {
        self.received.fetch_add(traffic.received, Ordering::Relaxed);
        self.sent.fetch_add(traffic.sent, Ordering::Relaxed);
    }

    fn get(&self) -> Traffic {
        Traffic {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

static ALL: Counters = Counters::new();
static BY_PEER: Mutex<BTreeMap<String, Arc<Counters>>> = Mutex::new(BTreeMap::new());

/// Of all connections together, of those as well on which nobody logged in.
pub(crate) fn all() -> Traffic {
    ALL.get()
}

/// Of each peer that has logged in.
pub(crate) fn by_peer() -> BTreeMap<String, Traffic> {
    let peers = peers();
    let each = peers.iter();
    each.map(|(id, counters)| (id.clone(), counters.get()))
        .collect()
}

fn peers() -> MutexGuard<'static, BTreeMap<String, Arc<Counters>>> {
    BY_PEER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn counters_of(id: &str) -> Option<Arc<Counters>> {
    let mut peers = peers();
    if !peers.contains_key(id) && peers.len() >= MOST {
        return None;
    }
    Some(Arc::clone(peers.entry(id.to_owned()).or_default()))
}

/// A connection whose streams are counted, and whose log-in is noted.
pub(crate) struct Counted {
    inner: Arc<dyn Connection>,
    counts: Arc<Counts>,
}

/// What went over a connection.
#[derive(Debug, Default)]
struct Counts {
    /// Before somebody logged in.
    before: Counters,
    /// Whose it is.
    owner: OnceLock<Arc<Counters>>,
}

impl Counts {
    fn add(&self, traffic: Traffic) {
        ALL.add(traffic);
        match self.owner.get() {
            Some(owner) => owner.add(traffic),
            None => self.before.add(traffic),
        }
    }
}

impl Counted {
    pub(crate) fn new(inner: Arc<dyn Connection>) -> Self {
        Self {
            inner,
            counts: Arc::default(),
        }
    }

    fn counted(&self, stream: BoxStream) -> BoxStream {
        Box::new(CountedStream {
            inner: stream,
            counts: Arc::clone(&self.counts),
        })
    }
}

impl Connection for Counted {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async { Ok(self.counted(self.inner.accept_bi().await?)) })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async { Ok(self.counted(self.inner.open_bi().await?)) })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.inner.remote_alpn()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    fn is_relayed(&self) -> bool {
        self.inner.is_relayed()
    }

    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet> {
        let id = identity.id.clone();
        self.inner.set_identity(identity)?;
        last_logins::note(&id);
        // Nobody counts as before any more once the owner is known.
        if let Some(owner) = counters_of(&id)
            && self.counts.owner.set(Arc::clone(&owner)).is_ok()
        {
            owner.add(self.counts.before.get());
        }
        Ok(())
    }

    fn close(&self, code: u32, reason: &str) {
        self.inner.close(code, reason);
    }
}

struct CountedStream {
    inner: BoxStream,
    counts: Arc<Counts>,
}

impl CountedStream {
    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.counts.add(Traffic {
                received: 0,
                sent: bytes as u64,
            });
        }
        written
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let received = buf.filled().len().saturating_sub(before) as u64;
        if received > 0 {
            self.counts.add(Traffic { received, sent: 0 });
        }
        read
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
