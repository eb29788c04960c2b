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
    /// The two ends of the way it takes; both are there once it is promised.
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

    /// The server promises it. Means nothing unless we have asked.
    pub(super) fn promised(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_asked) {
            let (to_come, coming) = oneshot::channel();
            state.to_come = Some(to_come);
            state.coming = Some(coming);
        }
    }

    /// Where the channel goes that the server opens; none if it may not open
    /// any.
    pub(super) fn place(&self) -> Option<oneshot::Sender<Channel<Msg>>> {
        let place = self.lock().to_come.take();
        place.filter(|place| !place.is_closed())
    }

    /// What the channel comes through, for the first who asks; none if there
    /// will be no channel.
    pub(super) fn take(&self) -> Option<oneshot::Receiver<Channel<Msg>>> {
        self.lock().coming.take()
    }

    /// It will not come any more.
    pub(super) fn over(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
