//! Look-ups of host names, bounded for each peer.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use alknet_handler::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most look-ups at a time; each holds a thread for as long as the system's
/// resolver takes, whether or not anybody still waits for it.
const AT_A_TIME: usize = 64;

/// The most look-ups of one peer at a time, on all its connections together.
const AT_A_TIME_OF_A_PEER: usize = 8;

/// A look-up's share of what its peer may have under way. The resolver keeps it
/// for as long as the look-up takes, whether or not anybody still waits for it:
/// so a peer that goes away and comes back gains nothing.
#[derive(Debug, Default)]
pub struct LookUpSlot(#[allow(dead_code)] Option<OwnedSemaphorePermit>);

/// The look-ups that each peer has under way.
#[derive(Debug, Default)]
pub(crate) struct LookUps(Mutex<HashMap<String, Weak<Semaphore>>>);

impl LookUps {
    /// Waits until the peer of that id may look up one more name.
    pub(crate) async fn slot(&self, id: &str) -> LookUpSlot {
        let slots = {
            let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = peers.get(id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                peers.retain(|_, slots| slots.strong_count() > 0);
                let slots = Arc::new(Semaphore::new(AT_A_TIME_OF_A_PEER));
                peers.insert(id.to_owned(), Arc::downgrade(&slots));
                slots
            })
        };
        // Never closed.
        LookUpSlot(slots.acquire_owned().await.ok())
    }
}

/// Turns a host name into addresses, once for each forward: the addresses that
/// are checked are the ones that are dialled.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of `host`, in the order to try them, with `port`.
    ///
    /// # Errors
    /// When the name has no address, or the look-up fails.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        slot: LookUpSlot,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system (getaddrinfo(3)).
#[derive(Debug)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        slot: LookUpSlot,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let turn = Arc::clone(&self.0).acquire_owned().await;
            let looking_up = tokio::task::spawn_blocking(move || {
                let addresses = (host.as_str(), port).to_socket_addrs();
                drop((turn, slot));
                addresses.map(Iterator::collect)
            });
            looking_up.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_with_slow_look_ups_holds_up_nobody_else() {
        let look_ups = LookUps::default();
        let mut slots = Vec::new();
        for _ in 0..AT_A_TIME_OF_A_PEER {
            slots.push(look_ups.slot("slow").await);
        }
        assert!(look_ups.slot("slow").now_or_never().is_none());
        assert!(look_ups.slot("other").now_or_never().is_some());
        slots.pop();
        assert!(look_ups.slot("slow").now_or_never().is_some());
        drop(slots);
        drop(look_ups.slot("third").await);
        assert!(
            look_ups.0.lock().unwrap().len() <= 2,
            "nobody is kept for good"
        );
    }
}
