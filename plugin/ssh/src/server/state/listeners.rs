//! A listener moves to a new session of the same identity when the session
//! that has it is away: who has rebooted gets the port back at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::end::SessionEndReason;
use super::sessions::LiveSession;
use crate::server::display::Peer;

/// The time that the sockets of a listener may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The listeners of all sessions of a handler.
#[derive(Default)]
pub(crate) struct AllListeners(Mutex<Vec<Registered>>);

/// The name of a listener in a peer's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Tcp { asked: String, port: u16 },
    Unix { path: String },
}

impl Name {
    /// Whether both may want the same socket.
    pub(crate) fn is_in_the_way_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { port, .. }, Self::Tcp { port: wanted, .. }) => port == wanted,
            (Self::Unix { path }, Self::Unix { path: wanted }) => path == wanted,
            _ => false,
        }
    }
}

struct Registered {
    name: Name,
    session: Weak<dyn LiveSession>,
    id: u64,
    cancelled: CancellationToken,
    gone: CancellationToken,
}

impl AllListeners {
    /// Takes a listener in, until it is `gone`.
    pub(crate) fn add(
        &self,
        name: Name,
        session: &Arc<dyn LiveSession>,
        cancelled: CancellationToken,
        gone: CancellationToken,
    ) {
        let mut all = self.lock();
        all.retain(|registered| !registered.gone.is_cancelled());
        all.push(Registered {
            name,
            session: Arc::downgrade(session),
            id: session.id(),
            cancelled,
            gone,
        });
    }

    /// Ends the listeners that stand in the way of `name` and that sessions of
    /// the same identity have which are away. A session that has nothing else
    /// ends as well, so that its client, when it is back, knows. Whether there
    /// were any; their sockets are closed then.
    pub(crate) async fn release(&self, name: &Name, session: &dyn LiveSession) -> bool {
        let identity = session.identity();
        let in_the_way: Vec<_> = self
            .lock()
            .iter()
            .filter(|registered| registered.name.is_in_the_way_of(name))
            .filter_map(|registered| {
                let owner = registered.session.upgrade()?;
                let may_go = owner.id() != session.id()
                    && !identity.is_empty()
                    && owner.identity() == identity
                    && owner.away_since().is_some();
                let tokens = (registered.cancelled.clone(), registered.gone.clone());
                may_go.then_some((owner, tokens))
            })
            .collect();
        let mut released = false;
        for (owner, (cancelled, gone)) in in_the_way {
            cancelled.cancel();
            released |= timeout(CLOSE_TIMEOUT, gone.cancelled()).await.is_ok();
            tracing::info!(
                target: "alknet_ssh::forward",
                remote_addr = %Peer(owner.remote_addr()),
                identity,
                session = owner.id(),
                "a listener moved to a newer session: the peer is away"
            );
            if owner.channels() == 0 && !self.has_any(owner.id()) {
                owner.end(SessionEndReason::TakenOver);
            }
        }
        released
    }

    /// Whether the session of this number listens anywhere.
    fn has_any(&self, id: u64) -> bool {
        let all = self.lock();
        all.iter()
            .any(|one| one.id == id && !one.gone.is_cancelled())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Registered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
