//! The callbacks that russh's server makes: log-in, channels, requests, data.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use russh::keys::Certificate;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::connection::server_opened_channel;
use crate::connection::transport::Control;
use crate::server::auth::{Authenticator, Holder};
use crate::server::exec::channel::{self, Start};
use crate::server::exec::command::Setup;
use crate::server::exec::{start, subsystem};
use crate::server::forward::{self, ListenError, Listeners, Opening};
use crate::server::metrics::{AuthError, ChannelKind, RequestKind, Verdict};
use crate::server::process::{Size, TerminalRequest};
use crate::server::session::context::{ChannelSlot, SessionContext};
use crate::server::session::denial::{self, Asked};
use crate::server::session::endpoint::Endpoint;
use crate::server::state::end::SessionEndReason;

/// The reason for which terminals are refused to everybody.
const NO_TERMINALS: &str = "terminals are switched off; the node's operator turns them on with \
                            services.shell.enabled = true and services.shell.terminal = true";

/// The time within which a channel that the peer has confirmed is handed over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// The most bytes of names and values kept for one channel's command.
const MOST_ENVIRONMENT: usize = 64 * 1024;

/// Answers russh's calls. They run inline in the session's loop, so they only
/// decide; what takes time happens in the channel's own task.
pub(crate) struct RusshHandler {
    auth: Authenticator,
    endpoint: Option<Arc<Endpoint>>,
    shared: Arc<SessionContext>,
    transport: Arc<dyn Control>,
    channels: HashMap<ChannelId, Requests>,
    /// The channel that we open for the peer's first command, once it is open.
    first: Option<oneshot::Receiver<(Channel<Msg>, ChannelSlot)>>,
    listeners: Listeners,
}

/// The requests on a channel so far.
struct Requests {
    /// The sender that starts what the channel is for; closed when the
    /// channel's task has ended.
    start: mpsc::Sender<Start>,
    started: bool,
    setup: Setup,
    /// The reason for which the peer does not have the terminal it asked for.
    no_terminal: Option<String>,
    environment_requests: u32,
    environment_bytes: usize,
}

impl RusshHandler {
    pub(crate) fn new(
        auth: Authenticator,
        endpoint: Option<Arc<Endpoint>>,
        shared: Arc<SessionContext>,
        transport: Arc<dyn Control>,
    ) -> Self {
        Self {
            auth,
            endpoint,
            shared,
            transport,
            channels: HashMap::new(),
            first: None,
            listeners: Listeners::default(),
        }
    }

    fn refuse(&mut self, user: &str, refusal: AuthError) -> Auth {
        self.auth.refuse(user, refusal);
        self.rejected()
    }

    fn rejected(&self) -> Auth {
        if self.auth.exhausted() {
            self.shared.end(SessionEndReason::TooManyFailures);
        }
        Auth::reject()
    }

    fn concluded(&mut self, holder: Option<Holder>) -> Auth {
        let Some(holder) = holder else {
            return self.rejected();
        };
        let identity = holder.identity.clone();
        if self.shared.connection.set_identity(identity).is_err() {
            tracing::debug!("the connection's identity had been recorded before");
        }
        self.shared.access.claim(holder);
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

    /// Takes the set-up for what is started next, with the variables that the
    /// peer's identity brings.
    fn setup(&mut self, channel: ChannelId) -> Setup {
        let requests = self.channels.get_mut(&channel);
        let mut setup = requests.map_or_else(Setup::default, |requests| {
            std::mem::take(&mut requests.setup)
        });
        let holder = self.shared.access.holder();
        let variables = holder.into_iter().flat_map(|holder| holder.environment);
        setup.environment.requested.extend(variables);
        setup.environment.agent = self.listeners.agent_socket();
        setup
    }

    /// Starts what was granted. Returns whether it was started.
    fn start_granted(
        &mut self,
        channel: ChannelId,
        kind: RequestKind,
        start: Start,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let requests = self.channels.get_mut(&channel);
        let (start, verdict) = match requests.and_then(|requests| requests.no_terminal.take()) {
            Some(line) => (Start::Refusal(line), Verdict::Denied),
            None => (start, Verdict::Granted),
        };
        if self.start(channel, start) {
            self.count(kind, verdict);
            session.channel_success(channel)
        } else {
            self.count(kind, Verdict::Failed);
            session.channel_failure(channel)
        }
    }

    /// Refuses to start something. The request is granted in form, so that the
    /// user gets to read why: to a refusal, clients say nothing of ours.
    fn start_denied(
        &mut self,
        channel: ChannelId,
        kind: RequestKind,
        reason: &dyn std::fmt::Display,
        line: String,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.start(channel, Start::Refusal(line)) {
            self.count(kind, Verdict::Denied);
            self.shared.deny(kind, reason);
            session.channel_success(channel)
        } else {
            self.count(kind, Verdict::Failed);
            session.channel_failure(channel)
        }
    }

    /// Tells the user why nothing listens: there is no channel to be told on.
    /// Clients show it where they are asked to be verbose.
    fn remark(
        &self,
        asked: Asked<'_>,
        reason: &ListenError,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let sentence = match reason {
            ListenError::Refused(refused) => {
                denial::sentence(asked, refused, &self.shared.identity())
            }
            reason => reason.to_string(),
        };
        session.debug(true, &sentence, "")
    }

    /// Makes the opening of a channel to a destination; refuses it without
    /// room.
    async fn opening(
        &self,
        kind: ChannelKind,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) -> Option<Opening> {
        let Some(place) = self.shared.channel_slot() else {
            self.shared.no_channel_slot(kind);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return None;
        };
        Some(Opening {
            queue: self.shared.windows().open(channel.id().into()),
            channel,
            reply,
            shared: Arc::clone(&self.shared),
            place,
        })
    }

    /// Opens the channel of the peer's first command. Without a place for it
    /// the peer does, and hears why not.
    fn open_first(&mut self, session: &Session) {
        let (opened, open) = oneshot::channel();
        let handle = session.handle();
        let Some(place) = self.shared.channel_slot() else {
            return;
        };
        let over = self.shared.over.clone();
        self.shared.channels.spawn(async move {
            let opening = over.run_until_cancelled(handle.channel_open_session());
            if let Some(Ok(channel)) = opening.await {
                let _ = opened.send((channel, place));
            }
        });
        self.first = Some(open);
    }

    /// Serves a session channel that is open, or will be in a moment.
    fn serve(&mut self, channel: Channel<Msg>, place: ChannelSlot, session: &Session) {
        let metrics = &self.shared.counters.metrics;
        metrics.channel(ChannelKind::Session, Verdict::Granted);
        let (start, starts) = mpsc::channel(1);
        let requests = Requests {
            start,
            started: false,
            setup: Setup::default(),
            no_terminal: None,
            environment_requests: 0,
            environment_bytes: 0,
        };
        self.channels.insert(channel.id(), requests);
        let queue = self.shared.windows().open(channel.id().into());
        self.shared.channels.spawn(channel::serve(
            channel,
            session.handle(),
            queue,
            starts,
            Arc::clone(&self.shared),
            place,
        ));
    }

    fn count(&self, kind: RequestKind, verdict: Verdict) {
        self.shared.counters.metrics.request(kind, verdict);
        // What is denied is recorded with its reason where that is known.
        let of_note = !matches!(kind, RequestKind::Env);
        if of_note && !matches!(verdict, Verdict::Denied) {
            self.shared.audit.request(kind.name(), verdict, None);
        }
    }

    /// Data has come for a channel; holds the session up where it must.
    async fn received(&self, channel: ChannelId, data: &[u8]) {
        let next = self.shared.windows().received(
            channel.into(),
            data.len(),
            self.transport.moved(),
            Instant::now(),
        );
        if next.wait().await.is_err() {
            self.shared.end(SessionEndReason::WindowExceeded);
        }
    }
}

impl Handler for RusshHandler {
    type Error = russh::Error;

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        self.auth.close_open_offer();
        let allowed = self
            .shared
            .core
            .active()
            .config
            .endpoint_identity
            .allow_none;
        let endpoint = self.endpoint.as_ref().filter(|_| allowed).map(Arc::clone);
        let Some(endpoint) = endpoint else {
            // How clients ask which methods there are (RFC 4252 section 5.2).
            return Ok(Auth::reject());
        };
        let proven = self.auth.by_endpoint(user, &endpoint.fingerprint);
        let holder = Box::pin(proven).await;
        Ok(self.concluded(holder))
    }

    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth, Self::Error> {
        Ok(self.refuse(user, AuthError::Method))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        _: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.refuse(user, AuthError::Method))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let holder = Box::pin(self.auth.certified(user, certificate)).await;
        Ok(self.concluded(holder))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = self.auth.offer(user, offer.public_key, offer.algorithm);
        if Box::pin(known).await {
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
        let proven = self.auth.verified(user, key.public_key, key.algorithm);
        let holder = Box::pin(proven).await;
        Ok(self.concluded(holder))
    }

    /// The banner, which russh asks for once the client has asked to log in.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        self.shared.service.cancel();
        let asked = self.shared.asks_for_channel.load(Ordering::Relaxed);
        Ok(asked.then(|| server_opened_channel::PROMISED.to_owned()))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let after = self.shared.opened.elapsed();
        self.shared.counters.metrics.logged_in(after);
        self.transport.logged_in(self.shared.active.read_ahead());
        self.shared.authenticated();
        if self.shared.asks_for_channel.load(Ordering::Relaxed) {
            self.open_first(session);
        }
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
        let Some(place) = self.shared.channel_slot() else {
            self.shared.no_channel_slot(ChannelKind::Session);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        self.serve(channel, place, session);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(opening) = self.opening(ChannelKind::DirectTcpip, channel, reply).await {
            let serving = forward::direct_tcpip(opening, host.to_owned(), port);
            self.shared.channels.spawn(serving);
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(opening) = self
            .opening(ChannelKind::DirectStreamLocal, channel, reply)
            .await
        {
            let serving = forward::direct_streamlocal(opening, path.to_owned());
            self.shared.channels.spawn(serving);
        }
        Ok(())
    }

    /// The peer took the channel of its first command, or a connection that
    /// came in at a listener of its own.
    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(opened) = self.first.take()
            && let Ok(Ok((opened, place))) = timeout(HAND_OVER, opened).await
            && opened.id() == channel
        {
            self.serve(opened, place, session);
        } else {
            self.shared.windows().open(channel.into());
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.windows().forget(channel.into());
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let listening = self
            .listeners
            .tcp(address, *port, session.handle(), &self.shared);
        match Box::pin(listening).await {
            Ok(bound) => {
                self.count(RequestKind::TcpipForward, Verdict::Granted);
                *port = bound.into();
                Ok(true)
            }
            Err(reason) => {
                self.count(RequestKind::TcpipForward, reason.verdict());
                self.shared.deny(RequestKind::TcpipForward, &reason);
                let asked = Asked::Listen {
                    address,
                    port: *port,
                };
                self.remark(asked, &reason, session)?;
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.listeners.cancel_tcp(address, port).await)
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let listening = self.listeners.unix(path, session.handle(), &self.shared);
        match Box::pin(listening).await {
            Ok(()) => {
                self.count(RequestKind::StreamLocalForward, Verdict::Granted);
                Ok(true)
            }
            Err(reason) => {
                self.count(RequestKind::StreamLocalForward, reason.verdict());
                self.shared.deny(RequestKind::StreamLocalForward, &reason);
                self.remark(Asked::StreamLocal { path }, &reason, session)?;
                Ok(false)
            }
        }
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.listeners.cancel_unix(path).await)
    }

    fn adjust_window(&mut self, channel: ChannelId, granted: u32) -> u32 {
        let now = Instant::now();
        self.shared.windows().granted(channel.into(), granted, now)
    }

    async fn window_adjusted(
        &mut self,
        channel: ChannelId,
        window: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.flights.granted(channel, window);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.received(channel, data).await;
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        _: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.received(channel, data).await;
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
        let decision = self
            .shared
            .access
            .decide(|policy, subject| policy.env(subject, name));
        let allowed = decision.is_ok();
        let Some(requests) = self.channels.get_mut(&channel) else {
            return session.channel_failure(channel);
        };
        requests.environment_requests = requests.environment_requests.saturating_add(1);
        let bytes = requests.environment_bytes + name.len() + value.len();
        let fits = requests.environment_requests <= config.limits.max_env_requests
            && bytes <= MOST_ENVIRONMENT;
        if !allowed || !fits || requests.started || value.contains('\0') {
            self.count(RequestKind::Env, Verdict::Denied);
            return session.channel_failure(channel);
        }
        requests.environment_bytes = bytes;
        requests
            .setup
            .environment
            .requested
            .push((name.to_owned(), value.to_owned()));
        self.count(RequestKind::Env, Verdict::Granted);
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let setup = self.setup(channel);
        match start::command(&self.shared, command, setup) {
            Ok(start) => self.start_granted(channel, RequestKind::Exec, start, session),
            Err(refused) => {
                let asked = self.shared.restricted_to(command);
                let line = denial::line(Asked::of(&asked), &refused, &self.shared.identity());
                self.start_denied(channel, RequestKind::Exec, &refused, line, session)
            }
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let setup = self.setup(channel);
        match start::shell(&self.shared, setup) {
            Ok(start) => self.start_granted(channel, RequestKind::Shell, start, session),
            Err(refused) => {
                let forced = self.shared.forced_command();
                let asked = forced.as_deref().map_or(Asked::Shell, Asked::of);
                let line = denial::line(asked, &refused, &self.shared.identity());
                self.start_denied(channel, RequestKind::Shell, &refused, line, session)
            }
        }
    }

    /// Notes the terminal that the peer wants; it is opened with what runs on
    /// it. A terminal that the peer may not have is granted in form: on a
    /// refusal, OpenSSH's client gives up without showing our reason.
    async fn pty_request(
        &mut self,
        channel: ChannelId,
        kind: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let shell = &self.shared.active.config.services.shell;
        let denied = if shell.enabled && shell.terminal {
            let refused = self.shared.access.terminal().err();
            refused.map(|refused| {
                let id = self.shared.identity();
                denial::sentence(Asked::Terminal, &refused, &id)
            })
        } else {
            Some(format!("a terminal is refused: {NO_TERMINALS}"))
        };
        if let Some(reason) = denied {
            self.count(RequestKind::Pty, Verdict::Denied);
            self.shared.deny(RequestKind::Pty, &reason);
            return match self.channels.get_mut(&channel) {
                Some(requests) => {
                    requests.no_terminal = Some(format!("alknet: {reason}\r\n"));
                    session.channel_success(channel)
                }
                None => session.channel_failure(channel),
            };
        }
        let size = Size::new(columns, rows, width, height);
        let terminal = TerminalRequest::new(kind, size, modes);
        let requests = self.channels.get_mut(&channel);
        match (requests, terminal) {
            (Some(requests), Some(terminal))
                if !requests.started && requests.setup.terminal.is_none() =>
            {
                requests.setup.terminal = Some(terminal);
                self.count(RequestKind::Pty, Verdict::Granted);
                session.channel_success(channel)
            }
            _ => {
                self.count(RequestKind::Pty, Verdict::Failed);
                session.channel_failure(channel)
            }
        }
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if !self.channels.contains_key(&channel) {
            return Ok(false);
        }
        let listening = self.listeners.agent(session.handle(), &self.shared);
        match Box::pin(listening).await {
            Ok(()) => {
                self.count(RequestKind::Agent, Verdict::Granted);
                Ok(true)
            }
            Err(reason) => {
                self.count(RequestKind::Agent, reason.verdict());
                self.shared.deny(RequestKind::Agent, &reason);
                self.remark(Asked::Agent, &reason, session)?;
                Ok(false)
            }
        }
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
        self.count(RequestKind::X11, Verdict::Denied);
        self.shared.deny(RequestKind::X11, &"X11 is not forwarded");
        session.debug(true, "X11 is not forwarded by this server", "")?;
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let setup = self.setup(channel);
        match subsystem::start(name, setup, &self.shared) {
            Ok(start) => self.start_granted(channel, RequestKind::Subsystem, start, session),
            Err(unavailable) => {
                let line = subsystem::denied(name, &unavailable, &self.shared);
                self.start_denied(channel, RequestKind::Subsystem, &unavailable, line, session)
            }
        }
    }
}
