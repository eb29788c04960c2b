//! What the server listens for on our behalf (RFC 4254 section 7.1).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::ChannelStream;
use crate::connection::queue::Budget;

/// A listener of the server on our behalf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteListener {
    /// A TCP port.
    Tcp {
        /// The address as the server was asked for it; empty for all.
        address: String,
        /// The port; the server's choice, if it was asked for port 0.
        port: u32,
    },
    /// A Unix socket at this path.
    Unix(String),
}

/// A connection that somebody made to such a listener.
#[derive(Debug)]
pub struct Incoming {
    /// The stream of the connection.
    pub stream: ChannelStream,
    /// The address it came from, as the server says; `None` for Unix sockets.
    pub from: Option<(String, u32)>,
}

/// A listener at the server. Connections to it are refused once this is
/// dropped; [`Client::cancel_forward`](super::Client::cancel_forward) ends it.
#[derive(Debug)]
pub struct RemoteForward {
    listener: RemoteListener,
    incoming: mpsc::Receiver<Incoming>,
    forwards: Forwards,
}

impl RemoteForward {
    /// The listener, with the port that the server chose.
    pub fn listener(&self) -> &RemoteListener {
        &self.listener
    }

    /// The next connection; none once the listener or the SSH connection has
    /// ended.
    pub async fn accept(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }
}

impl Drop for RemoteForward {
    fn drop(&mut self) {
        self.forwards.remove(&self.listener);
    }
}

impl fmt::Display for RemoteListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, port } if address.contains(':') => {
                write!(f, "[{address}]:{port}")
            }
            Self::Tcp { address, port } => write!(f, "{address}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// Connections that wait for [`RemoteForward::accept`]; more are refused.
const BACKLOG: usize = 128;

/// The listeners of one connection.
#[derive(Clone, Debug)]
pub(super) struct Forwards(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a request has been answered.
    answered: Notify,
    over: CancellationToken,
    budget: Budget,
}

#[derive(Debug, Default)]
struct State {
    listeners: HashMap<RemoteListener, mpsc::Sender<Incoming>>,
    /// The number of requests for any free port whose answer was not read yet.
    open_requests: usize,
}

/// A request for any port, until its answer is known.
pub(super) struct OpenRequest(Forwards);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.lock().open_requests -= 1;
        self.0.0.answered.notify_waiters();
    }
}

impl Forwards {
    pub(super) fn new(budget: Budget) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            answered: Notify::new(),
            over: CancellationToken::new(),
            budget,
        }))
    }

    /// Takes in connections to this listener from now on.
    pub(super) fn add(&self, listener: RemoteListener) -> RemoteForward {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut state = self.lock();
        if !self.0.over.is_cancelled() {
            state.listeners.insert(listener.clone(), sender);
        }
        drop(state);
        RemoteForward {
            listener,
            incoming,
            forwards: self.clone(),
        }
    }

    /// Holds back connections to unknown ports until this is dropped.
    pub(super) fn request(&self) -> OpenRequest {
        self.lock().open_requests += 1;
        OpenRequest(self.clone())
    }

    /// Ends all listeners: the connection is over.
    pub(super) fn end(&self) {
        self.0.over.cancel();
        self.lock().listeners.clear();
    }

    /// Completes when the connection is over.
    pub(super) async fn ended(&self) {
        self.0.over.cancelled().await;
    }

    /// Takes in a connection that the server offers for one of the listeners.
    pub(super) async fn offer(
        &self,
        listener: RemoteListener,
        from: Option<(String, u32)>,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        if let Some(sender) = self.find(&listener) {
            return self.deliver(sender, from, channel, reply).await;
        }
        if self.lock().open_requests == 0 {
            return reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
        }
        // It may be for a port whose number is about to be known. The session
        // goes on meanwhile, or it never would be.
        let forwards = self.clone();
        tokio::spawn(async move {
            match forwards.find_later(&listener).await {
                Some(sender) => forwards.deliver(sender, from, channel, reply).await,
                None => {
                    reply
                        .reject(ChannelOpenFailure::AdministrativelyProhibited)
                        .await
                }
            }
        });
    }

    async fn deliver(
        &self,
        sender: mpsc::Sender<Incoming>,
        from: Option<(String, u32)>,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let Ok(place) = sender.try_reserve() else {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        reply.accept().await;
        place.send(Incoming {
            stream: ChannelStream::new(channel, &self.0.budget),
            from,
        });
    }

    fn find(&self, listener: &RemoteListener) -> Option<mpsc::Sender<Incoming>> {
        let state = self.lock();
        if let Some(sender) = state.listeners.get(listener) {
            return Some(sender.clone());
        }
        // Servers differ in how they write the address.
        let RemoteListener::Tcp { port, .. } = listener else {
            return None;
        };
        let same_port = |known: &RemoteListener| matches!(known, RemoteListener::Tcp { port: known, .. } if known == port);
        let mut found = state.listeners.iter().filter(|(known, _)| same_port(known));
        match (found.next(), found.next()) {
            (Some((_, sender)), None) => Some(sender.clone()),
            _ => None,
        }
    }

    async fn find_later(&self, listener: &RemoteListener) -> Option<mpsc::Sender<Incoming>> {
        loop {
            let answered = self.0.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if let Some(sender) = self.find(listener) {
                return Some(sender);
            }
            if self.lock().open_requests == 0 {
                return None;
            }
            answered.await;
        }
    }

    fn remove(&self, listener: &RemoteListener) {
        self.lock().listeners.remove(listener);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
