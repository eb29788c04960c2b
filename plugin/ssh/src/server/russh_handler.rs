use std::collections::HashMap;
use std::sync::Arc;

use alknet_handler::Identity;
use russh::keys::{Certificate, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::mpsc;

use super::channel::{self, Start};
use super::session::Shared;
use crate::auth::{Authenticator, Peer, Refusal};
use crate::policy;
use crate::queue::ByteQueue;
use crate::status::{Live, count};
use crate::window::Windows;

/// Shown to who asks for a shell.
const NO_SHELL: &str = "alknet: an interactive shell is not enabled on this node; \
                        give a command to run\r\n";

/// Answers russh's calls. They run inline in the session's loop, so they only
/// decide; what takes time happens in the channel's own task.
pub(super) struct RusshHandler {
    auth: Authenticator,
    shared: Arc<Shared>,
    identity: Option<Identity>,
    channels: HashMap<ChannelId, Requests>,
    windows: Windows,
}

/// What a channel was asked for so far.
struct Requests {
    /// Closed when the channel's task has ended.
    start: mpsc::Sender<Start>,
    started: bool,
    environment: Vec<(String, String)>,
    environment_requests: u32,
}

impl RusshHandler {
    pub(super) fn new(auth: Authenticator, shared: Arc<Shared>) -> Self {
        Self {
            auth,
            windows: Windows::new(shared.active.config.transport.window_bytes),
            shared,
            identity: None,
            channels: HashMap::new(),
        }
    }

    fn refuse(&mut self, user: &str, key: Option<&PublicKey>, refusal: Refusal) -> Auth {
        self.auth.refuse(user, key, refusal);
        self.rejected()
    }

    fn rejected(&self) -> Auth {
        if self.auth.exhausted() {
            self.shared.end("too many authentication failures");
        }
        Auth::reject()
    }

    fn accepted(&mut self, identity: Identity) -> Auth {
        if self
            .shared
            .connection
            .set_identity(identity.clone())
            .is_err()
        {
            tracing::debug!("the connection's identity had been recorded before");
        }
        self.identity = Some(identity);
        Auth::Accept
    }

    /// Starts what the channel was opened for, once.
    fn start(&mut self, channel: ChannelId, start: Start) -> bool {
        let Some(requests) = self.channels.get_mut(&channel) else {
            return false;
        };
        let first = !std::mem::replace(&mut requests.started, true);
        first && requests.start.try_send(start).is_ok()
    }

    fn deny(&self, what: &str, reason: &dyn std::fmt::Display) {
        count(&self.shared.counters.requests_denied);
        tracing::info!(
            target: "alknet_ssh::policy",
            remote_addr = %Peer(self.shared.origin.peer),
            identity = %self.identity.as_ref().map_or("", |identity| &identity.id),
            request = what,
            reason = %reason,
            "request denied"
        );
    }
}

impl Handler for RusshHandler {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        // How clients ask which methods there are (RFC 4252 section 5.2).
        self.auth.close_open_offer();
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth, Self::Error> {
        Ok(self.refuse(user, None, Refusal::Method))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        _: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.refuse(user, None, Refusal::Method))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let key = PublicKey::new(certificate.public_key().clone(), "");
        Ok(self.refuse(user, Some(&key), Refusal::Certificate))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self
            .auth
            .offer(user, offer.public_key, offer.algorithm)
            .await
        {
            Ok(Auth::Accept)
        } else {
            Ok(self.rejected())
        }
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        match self
            .auth
            .verified(user, key.public_key, key.algorithm)
            .await
        {
            Some(identity) => Ok(self.accepted(identity)),
            None => Ok(self.rejected()),
        }
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.shared.authenticated();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels
            .retain(|_, requests| !requests.start.is_closed());
        if self.channels.len() >= self.shared.active.config.limits.max_channels as usize {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let (start, starts) = mpsc::channel(1);
        let requests = Requests {
            start,
            started: false,
            environment: Vec::new(),
            environment_requests: 0,
        };
        self.channels.insert(channel.id(), requests);
        let limit = self.shared.active.config.limits.channel_buffer_bytes as usize;
        let queue = ByteQueue::new(limit, self.shared.budget.clone());
        self.windows.opened(channel.id(), vec![queue.clone()]);
        let live = Live::new(&self.shared.counters.channels);
        self.shared.channels.spawn(channel::serve(
            channel,
            session.handle(),
            queue,
            starts,
            Arc::clone(&self.shared),
            live,
        ));
        reply.accept().await;
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        self.windows.target(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(pause) = self.windows.pause(channel, data.len()) {
            pause.wait().await;
        }
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let config = &self.shared.active.config;
        let allowed = self
            .identity
            .as_ref()
            .is_some_and(|identity| policy::env(identity, &config.services.exec, name));
        let Some(requests) = self.channels.get_mut(&channel) else {
            return session.channel_failure(channel);
        };
        requests.environment_requests = requests.environment_requests.saturating_add(1);
        let counted = requests.environment_requests <= config.limits.max_env_requests;
        if !allowed || !counted || requests.started || value.contains('\0') {
            return session.channel_failure(channel);
        }
        requests
            .environment
            .push((name.to_owned(), value.to_owned()));
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let exec = &self.shared.active.config.services.exec;
        let Some(identity) = &self.identity else {
            return session.channel_failure(channel);
        };
        let command = match policy::exec(identity, exec, command) {
            Ok(command) => command,
            Err(denied) => {
                self.deny("exec", &denied);
                return session.channel_failure(channel);
            }
        };
        let environment = self
            .channels
            .get_mut(&channel)
            .map(|requests| std::mem::take(&mut requests.environment))
            .unwrap_or_default();
        if self.start(channel, Start::Command(command, environment)) {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    /// Granted in form, so that the user gets to read why there is none.
    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.start(channel, Start::Refusal(NO_SHELL)) {
            self.deny("shell", &"interactive shells are not enabled");
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.deny("subsystem", &"no subsystem is enabled");
        session.channel_failure(channel)
    }
}
