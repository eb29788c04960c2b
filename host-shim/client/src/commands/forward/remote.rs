//! A `-R`: the node listens, and is asked to again after a lost session.

use std::sync::Arc;
use std::time::Duration;

use alknet_ssh::ClientError;
use alknet_ssh::client::{RemoteForward as Registered, RemoteListener};
use tokio::time::sleep;

use super::dialer::{Dialer, Opened};
use super::error::{ForwardError, Shown};
use super::reconnect::Reconnecting;
use super::socks;
use super::stream::{BoxEnd, carry};
use crate::connection::connection_pool::{ConnectionPool, LaneGuard};
use crate::console::terminal::Terminal;
use crate::options::forward_spec::{Destination, Listen, RemoteForward};

/// A `-R` that the node listens for, as long as there is a session.
pub(crate) struct Remote {
    listener: RemoteListener,
    to: Option<Destination>,
    session: Arc<ConnectionPool>,
    registered: Registered,
    terminal: Terminal,
}

/// The pause until the node is asked again to listen: after a lost session it
/// may take a while to close the port.
const AGAIN: Duration = Duration::from_secs(5);

impl Remote {
    /// Has the node listen.
    pub(crate) async fn start(
        forward: &RemoteForward,
        session: Arc<ConnectionPool>,
        terminal: Terminal,
    ) -> Result<Self, ForwardError> {
        let asked = listener(&forward.listen)?;
        let registered = session.first().client().forward(asked.clone()).await;
        let registered = registered.map_err(|source| ForwardError::Remote {
            listener: asked,
            source,
        })?;
        // The port that the node chose; it is asked for again.
        let listener = registered.listener().clone();
        terminal.notice(&format_args!("the node listens on {}", Shown(&listener)));
        Ok(Self {
            listener,
            to: forward.to.clone(),
            session,
            registered,
            terminal,
        })
    }

    /// Takes in connections, over this session and the ones to come.
    pub(crate) async fn serve(mut self, node: Reconnecting) {
        loop {
            while let Some(incoming) = self.registered.accept().await {
                let place = self.session.first().place();
                tokio::spawn(pass_on(
                    Box::new(incoming.stream),
                    place,
                    self.to.clone(),
                    self.terminal,
                ));
            }
            let Some(session) = node.session_after(Some(&self.session)).await else {
                return;
            };
            self.session = session;
            self.listen_again().await;
        }
    }

    /// Registers the listener with a new session; gives up when that is lost.
    async fn listen_again(&mut self) {
        let mut complained = false;
        loop {
            match self
                .session
                .first()
                .client()
                .forward(self.listener.clone())
                .await
            {
                Ok(registered) => {
                    self.registered = registered;
                    self.terminal.notice(&format_args!(
                        "the node listens on {} again",
                        Shown(&self.listener)
                    ));
                    return;
                }
                Err(ClientError::ForwardRefused) => {
                    if !std::mem::replace(&mut complained, true) {
                        self.terminal.notice(&format_args!(
                            "the node does not listen on {} for now; asking again",
                            Shown(&self.listener)
                        ));
                    }
                    sleep(AGAIN).await;
                }
                Err(_) => return,
            }
        }
    }
}

async fn pass_on(incoming: BoxEnd, _place: LaneGuard, to: Option<Destination>, terminal: Terminal) {
    let Some(to) = to else {
        if let Err(error) = socks::serve(incoming, &Dialer::Local).await {
            terminal.detail(&error);
        }
        return;
    };
    match Dialer::Local.open(&to).await {
        Ok(Opened { end, .. }) => carry(end, incoming).await,
        Err(error) => {
            terminal.notice(&format_args!("could not pass on a connection: {error}"));
            terminal.detail(&format_args!("it was for {to}"));
        }
    }
}

/// The listener to ask the node for, as ssh does: no address is the node's
/// loopback, a star is all addresses.
fn listener(listen: &Listen) -> Result<RemoteListener, ForwardError> {
    match listen {
        Listen::Tcp { bind, port } => Ok(RemoteListener::Tcp {
            address: match bind.as_deref() {
                None => "localhost",
                Some("*") => "",
                Some(address) => address,
            }
            .to_owned(),
            port: (*port).into(),
        }),
        Listen::Unix(path) => match path.to_str() {
            Some(path) => Ok(RemoteListener::Unix(path.to_owned())),
            None => Err(ForwardError::Path(path.clone())),
        },
    }
}
