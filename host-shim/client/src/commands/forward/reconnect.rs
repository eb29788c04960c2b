//! The session under the forwards, which is made again whenever it is lost.

use std::sync::Arc;
use std::time::Duration;

use alknet_ssh::ClientError;
use alknet_ssh::client::ChannelStream;
use alknet_text::span;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::unopened::Unopened;
use crate::connection::backoff::Backoff;
use crate::connection::connection_pool::{ConnectionPool, Lane, LaneGuard};
use crate::connection::session::{Connector, SessionError};
use crate::console::terminal::Terminal;
use crate::options::forward_spec::Destination;

/// A session that is made again whenever it is lost.
#[derive(Clone)]
pub(crate) struct Reconnecting {
    current: watch::Receiver<Option<Arc<ConnectionPool>>>,
}

/// The task that keeps a session connected.
pub(crate) struct Supervisor {
    connector: Connector,
    current: watch::Sender<Option<Arc<ConnectionPool>>>,
    terminal: Terminal,
}

/// The time that a connection may wait for the node.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time after which a session counts as a good one, so that the pauses
/// begin at the shortest again.
const GOOD: Duration = Duration::from_secs(60);

impl Reconnecting {
    /// Waits for the session; `None` if that takes too long.
    pub(crate) async fn session(&self) -> Option<Arc<ConnectionPool>> {
        timeout(PATIENCE, self.session_after(None)).await.ok()?
    }

    /// Waits for the next session that is not `old`; `None` when none will
    /// come.
    pub(crate) async fn session_after(
        &self,
        old: Option<&Arc<ConnectionPool>>,
    ) -> Option<Arc<ConnectionPool>> {
        let mut current = self.current.clone();
        let is_new = |session: &Option<Arc<ConnectionPool>>| {
            session
                .as_ref()
                .is_some_and(|session| !old.is_some_and(|old| Arc::ptr_eq(session, old)))
        };
        let session = current.wait_for(is_new).await.ok()?;
        session.as_ref().map(Arc::clone)
    }

    /// Has the node connect with a destination, over the next session if this
    /// one is lost on the way.
    pub(crate) async fn open(
        &self,
        to: &Destination,
    ) -> Result<(ChannelStream, LaneGuard), Unopened> {
        let mut lost = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = self.session_after(lost.as_ref());
            let session = timeout_at(deadline, waiting).await;
            let session = session.ok().flatten().ok_or(Unopened::NoNode)?;
            let (lane, place) = session.pick();
            match open(&lane, to).await? {
                Ok(stream) => return Ok((stream, place)),
                Err(ClientError::ChannelRefused(reason)) => return Err(Unopened::Refused(reason)),
                // Where only this lane is closed, the others are not.
                Err(_) if lane.client().is_closed() && !session.first().client().is_closed() => {}
                Err(_) => lost = Some(session),
            }
        }
    }
}

async fn open(
    lane: &Lane,
    to: &Destination,
) -> Result<Result<ChannelStream, ClientError>, Unopened> {
    Ok(match to {
        Destination::Tcp { host, port } => lane.client().direct_tcpip(host, *port).await,
        Destination::Unix(path) => {
            let path = path.to_str().ok_or(Unopened::Path)?;
            lane.client().direct_streamlocal(path).await
        }
    })
}

impl Supervisor {
    /// Connects for the first time; the caller reports a failure.
    pub(crate) async fn start(
        mut connector: Connector,
        terminal: Terminal,
    ) -> Result<(Self, Reconnecting), SessionError> {
        let session = connector.connect().await?;
        let (sender, receiver) = watch::channel(Some(Arc::new(ConnectionPool::new(session))));
        let supervisor = Self {
            connector,
            current: sender,
            terminal,
        };
        Ok((supervisor, Reconnecting { current: receiver }))
    }

    /// Connects again whenever the session is lost. Completes with the error
    /// that another try would meet as well.
    pub(crate) async fn keep(&mut self) -> SessionError {
        let mut backoff = Backoff::default();
        loop {
            let Some(session) = self.current.borrow().clone() else {
                return SessionError::Stream("there is no session".to_owned());
            };
            let since = Instant::now();
            let reason = self.serve(&session).await;
            let lost = Instant::now();
            if lost - since >= GOOD {
                backoff = Backoff::default();
            }
            self.terminal.notice(&format_args!(
                "lost the connection to the node ({reason}); connecting again"
            ));
            self.current.send_replace(None);
            // Its forwards end with it.
            cut(&session);
            drop(session);
            let session = loop {
                sleep(backoff.next(getrandom::u32().unwrap_or_default())).await;
                match self.connector.connect().await {
                    Ok(session) => break session,
                    Err(error) if error.is_for_good() => return error,
                    Err(error) => self.terminal.detail(&error),
                }
            };
            self.terminal.notice(&format_args!(
                "connected again after {}",
                span(lost.elapsed())
            ));
            self.current
                .send_replace(Some(Arc::new(ConnectionPool::new(session))));
        }
    }

    /// Opens further pool when they are wanted, until the session has ended;
    /// gives the reason.
    async fn serve(&mut self, session: &ConnectionPool) -> String {
        let ended = session.ended();
        tokio::pin!(ended);
        loop {
            let another = async {
                session.wanted().await;
                self.connector.log_in(session.link()).await
            };
            tokio::select! {
                reason = &mut ended => return reason,
                another = another => match another {
                    Ok(client) => session.add(Some(client)),
                    Err(error) => {
                        self.terminal.detail(&format_args!("no further SSH connection: {error}"));
                        session.add(None);
                    }
                }
            }
        }
    }

    /// Says goodbye, if there is a session.
    pub(crate) async fn close(self) {
        let session = self.current.send_replace(None);
        match session.map(Arc::try_unwrap) {
            Some(Ok(session)) => session.close().await,
            // Some forward still has it.
            Some(Err(session)) => cut(&session),
            None => {}
        }
    }
}

fn cut(session: &ConnectionPool) {
    session.link().cut();
}
