//! The SSH connections of one session, each on its own QUIC stream (ADR 43).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alknet_ssh::Client;
use tokio::sync::Notify;

use super::link::Link;
use super::session::Session;

/// The SSH connections of one session, each on a stream of its own of the same
/// QUIC connection.
///
/// What is carried on one of them waits for nothing on the others: neither for
/// a download that fills the link, nor for one that nobody reads (ADR 43).
pub(crate) struct ConnectionPool {
    link: Link,
    first: Lane,
    further: Mutex<Further>,
    wanted: Notify,
}

struct Further {
    connections: Vec<Lane>,
    /// Whether the node accepts no more SSH connections.
    all: bool,
}

/// One SSH connection of a session.
#[derive(Clone)]
pub(crate) struct Lane {
    client: Arc<Client>,
    places: Arc<()>,
}

/// A connection's claim to a lane.
pub(crate) struct LaneGuard {
    _counted: Arc<()>,
}

/// The most SSH connections of one session: a node grants 16 on a QUIC
/// connection by default.
const MOST: usize = 8;

impl ConnectionPool {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            link: session.link,
            first: Lane::new(session.client),
            further: Mutex::new(Further {
                connections: Vec::new(),
                all: false,
            }),
            wanted: Notify::new(),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// The first SSH connection, with whose end the session ends.
    pub(crate) fn first(&self) -> &Lane {
        &self.first
    }

    /// Picks the least used SSH connection. Another is asked for when none is
    /// free any more, so that nobody ever waits for it.
    pub(crate) fn pick(&self) -> (Lane, LaneGuard) {
        let mut further = self.further();
        further.connections.retain(|lane| !lane.client.is_closed());
        let all = std::iter::once(&self.first).chain(&further.connections);
        let lane = all.min_by_key(|lane| lane.used()).unwrap_or(&self.first);
        let picked = (lane.clone(), lane.place());
        let free = std::iter::once(&self.first)
            .chain(&further.connections)
            .any(|lane| lane.used() == 0);
        if !free && !further.all && further.connections.len() + 1 < MOST {
            self.wanted.notify_one();
        }
        picked
    }

    /// Completes when another SSH connection would be of use.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Adds another SSH connection; `None` says that the node accepts no more.
    pub(crate) fn add(&self, client: Option<Client>) {
        let mut further = self.further();
        match client {
            Some(client) => further.connections.push(Lane::new(client)),
            None => further.all = true,
        }
    }

    /// Completes when the session has ended, with the reason.
    pub(crate) async fn ended(&self) -> String {
        let first = self.first.client();
        tokio::select! {
            reason = self.link.closed() => reason,
            () = first.closed() => self
                .link
                .end()
                .or_else(|| first.end())
                .unwrap_or_else(|| "it ended the session".to_owned()),
        }
    }

    /// Says goodbye on all of them and then to the node.
    pub(crate) async fn close(self) {
        let further = self.further.into_inner();
        let further = further.unwrap_or_else(PoisonError::into_inner).connections;
        for lane in further.into_iter().chain([self.first]) {
            // Unless some forward still has it.
            if let Ok(client) = Arc::try_unwrap(lane.client) {
                client.disconnect().await;
            }
        }
        self.link.close().await;
    }

    fn further(&self) -> MutexGuard<'_, Further> {
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn new(client: Client) -> Self {
        Self {
            client: Arc::new(client),
            places: Arc::new(()),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A claim that counts as one use until it is dropped.
    pub(crate) fn place(&self) -> LaneGuard {
        LaneGuard {
            _counted: Arc::clone(&self.places),
        }
    }

    fn used(&self) -> usize {
        // Its own does not count.
        Arc::strong_count(&self.places) - 1
    }
}
