//! The callbacks that russh's client makes: host key, banner, forwarded
//! channels, the end of the connection.

use std::sync::{Arc, Mutex, PoisonError};

use alknet_text::visible_bytes;
use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelOpenFailure, Names};

use super::forwards::{Forwards, RemoteListener};
use super::server_opened_channel::ServerOpenedChannel;
use super::{ClientError, HostTrust};
use crate::connection::server_opened_channel;

/// Answers russh's calls: checks the host key, and refuses every channel that
/// was not asked for.
pub(crate) struct ClientHandler {
    check: Check,
    forwards: Forwards,
    server_opened: ServerOpenedChannel,
    info: ConnectionInfo,
}

/// How the server's host key is checked.
pub(super) enum Check {
    Trust(Box<HostTrust>),
    Caller(Box<dyn FnMut(&PublicKey) -> bool + Send>),
}

/// What became known of the server and of the connection's end.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionInfo(Arc<Mutex<Info>>);

#[derive(Debug, Default)]
struct Info {
    version: String,
    end: Option<String>,
}

impl ConnectionInfo {
    /// The server's version line.
    pub(super) fn version(&self) -> String {
        self.with(|info| info.version.clone())
    }

    /// How the connection ended, if it has.
    pub(super) fn end(&self) -> Option<String> {
        self.with(|info| info.end.clone())
    }

    fn with<R>(&self, look: impl FnOnce(&mut Info) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientHandler {
    pub(super) fn new(
        check: Check,
        forwards: Forwards,
        server_opened: ServerOpenedChannel,
        info: ConnectionInfo,
    ) -> Self {
        Self {
            check,
            forwards,
            server_opened,
            info,
        }
    }
}

impl Drop for ClientHandler {
    fn drop(&mut self) {
        self.forwards.end();
        self.server_opened.over();
    }
}

async fn refuse(reply: ChannelOpenHandle) -> Result<(), ClientError> {
    reply
        .reject(ChannelOpenFailure::AdministrativelyProhibited)
        .await;
    Ok(())
}

impl Handler for ClientHandler {
    type Error = ClientError;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, ClientError> {
        match (&mut self.check, key) {
            (Check::Trust(trust), shown) => {
                trust.verify(shown).map_err(Box::new)?;
                Ok(true)
            }
            (Check::Caller(verify), PublicKeyOrCertificate::PublicKey { key, .. }) => {
                Ok(verify(key))
            }
            // None is asked for, so none can have been negotiated.
            (Check::Caller(_), PublicKeyOrCertificate::Certificate(_)) => Ok(false),
        }
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        session: &mut Session,
    ) -> Result<(), ClientError> {
        let version = visible_bytes(session.remote_sshid());
        tracing::debug!(?names, version, "keys are agreed on");
        self.info.with(|info| info.version = version);
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), ClientError> {
        if banner == server_opened_channel::PROMISED {
            self.server_opened.promised();
        }
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<ClientError>,
    ) -> Result<(), ClientError> {
        let (end, outcome) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (format!("the server said {:?}", info.message), Ok(()))
            }
            DisconnectReason::Error(error) => (error.to_string(), Err(error)),
        };
        tracing::debug!(end, "the connection ended");
        self.info.with(|info| info.end = Some(end));
        outcome
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        from_address: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        let address = address.to_owned();
        let listener = RemoteListener::Tcp { address, port };
        let from = Some((from_address.to_owned(), from_port));
        self.forwards.offer(listener, from, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        let listener = RemoteListener::Unix(path.to_owned());
        self.forwards.offer(listener, None, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        refuse(reply).await
    }

    fn should_accept_unknown_server_channel(
        &mut self,
        _: ChannelId,
        _: &str,
    ) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Accepts a session channel if the server has promised one. The client
    /// decides what runs on it, since its request comes next.
    async fn server_channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        let Some(place) = self.server_opened.place() else {
            return refuse(reply).await;
        };
        reply.accept().await;
        let _ = place.send(channel);
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        refuse(reply).await
    }
}
