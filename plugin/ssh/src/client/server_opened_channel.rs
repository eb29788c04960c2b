//! The session channel that the server opens for the client's first command,
//! if it promised to (ADR 44).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::Channel;
use russh::client::Msg;
use tokio::sync::oneshot;

/// The one session channel that we let the server open: the one it has promised
/// for our first command.
#[derive(Clone, Debug)]
pub(super) struct ServerOpenedChannel(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    /// The two ends through which the channel is passed on, once it is
    /// promised.
    to_come: Option<oneshot::Sender<Channel<Msg>>>,
    coming: Option<oneshot::Receiver<Channel<Msg>>>,
}

impl ServerOpenedChannel {
    pub(super) fn new(is_asked: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            is_asked,
            ..State::default()
        })))
    }

    /// Notes that the server promises the channel, if the client has asked for
    /// it.
    pub(super) fn promised(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_asked) {
            let (to_come, coming) = oneshot::channel();
            state.to_come = Some(to_come);
            state.coming = Some(coming);
        }
    }

    /// The sender for the channel that the server opens; `None` if it may not
    /// open any.
    pub(super) fn place(&self) -> Option<oneshot::Sender<Channel<Msg>>> {
        let place = self.lock().to_come.take();
        place.filter(|place| !place.is_closed())
    }

    /// The receiver of the channel, for the first caller; `None` if no channel
    /// will come.
    pub(super) fn take(&self) -> Option<oneshot::Receiver<Channel<Msg>>> {
        self.lock().coming.take()
    }

    /// Notes that the channel will not come any more.
    pub(super) fn over(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
