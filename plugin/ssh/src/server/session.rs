use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use alknet_handler::{BoxStream, Connection};
use russh::server::RunningSession;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::core::{Active, Core};
use super::greeting;
use super::russh_handler::RusshHandler;
use crate::auth::{Authenticator, Owner, Peer as Address};
use crate::process::Origin;
use crate::queue::Budget;
use crate::status::{Counters, Live, count};
use crate::transport::{Control, Transport};

/// How long a peer that was told, or that said, goodbye has to close.
const LINGER: Duration = Duration::from_secs(10);
/// How long the goodbye itself may wait for a place in russh's queue.
const GOODBYE: Duration = Duration::from_secs(1);

/// The other end of a stream.
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) owner: Arc<Owner>,
}

/// What the parts of one SSH connection share.
pub(super) struct Shared {
    pub(super) active: Arc<Active>,
    pub(super) counters: Arc<Counters>,
    pub(super) origin: Origin,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) budget: Budget,
    /// Cancelled when the connection is over: every child and task ends.
    pub(super) over: CancellationToken,
    pub(super) channels: TaskTracker,
    authenticated: CancellationToken,
    end: OnceLock<&'static str>,
    end_notify: Notify,
}

/// Serves one SSH connection from the first byte to the last process.
pub(super) async fn serve(core: Arc<Core>, active: Arc<Active>, stream: BoxStream, peer: Peer) {
    let _live = Live::new(&core.counters.sessions);
    count(&core.counters.sessions_total);
    let address = peer.address;
    tracing::info!(target: "alknet_ssh::auth", remote_addr = %Address(address), "connection opened");
    let shared = Arc::new(Shared {
        counters: Arc::clone(&core.counters),
        origin: Origin {
            account: core.account.clone(),
            peer: address,
        },
        connection: peer.connection,
        budget: Budget::new(active.config.limits.session_buffer_bytes as usize),
        over: CancellationToken::new(),
        channels: TaskTracker::new(),
        authenticated: CancellationToken::new(),
        end: OnceLock::new(),
        end_notify: Notify::new(),
        active,
    });
    let reason = run(&core, &shared, stream, peer.owner).await;
    shared.over.cancel();
    shared.channels.close();
    shared.channels.wait().await;
    let event = if shared.authenticated.is_cancelled() {
        "connection closed"
    } else {
        "connection rejected"
    };
    tracing::info!(
        target: "alknet_ssh::auth",
        remote_addr = %Address(address),
        reason = %reason,
        "{event}"
    );
}

/// Runs the protocol; says why it ended.
async fn run(core: &Core, shared: &Arc<Shared>, stream: BoxStream, owner: Arc<Owner>) -> String {
    let limits = &shared.active.config.limits;
    let login_end = Instant::now() + Duration::from_secs(limits.login_grace_seconds.into());
    let authenticator = Authenticator::new(
        Arc::clone(&core.identities),
        Arc::clone(&core.counters),
        shared.origin.peer,
        limits,
        owner,
    );
    let handler = RusshHandler::new(authenticator, Arc::clone(shared));
    let (mut transport, control) = Transport::new(stream, shared.active.read_ahead());
    let setup = async {
        let has_aes_gcm = greeting::exchange(&mut transport).await?;
        let config = shared.active.russh_for(has_aes_gcm);
        russh::server::run_stream(config, transport, handler).await
    };
    let mut session = tokio::select! {
        setup = setup => match setup {
            Ok(session) => session,
            Err(error) => return error.to_string(),
        },
        () = sleep_until(login_end) => {
            count(&core.counters.login_timeouts);
            return LOGIN_TIMEOUT.to_owned();
        }
        () = core.drained() => return DRAINED.to_owned(),
    };
    tokio::select! {
        end = &mut session => describe(end),
        reason = reason_to_end(core, shared, control.as_ref(), login_end) => {
            say_goodbye(shared, control.as_ref(), &mut session, reason).await;
            reason.to_owned()
        }
        () = control.shut_down() => {
            shared.over.cancel();
            linger(control.as_ref(), &mut session).await;
            "the session ended".to_owned()
        }
    }
}

const LOGIN_TIMEOUT: &str = "the time to log in is over";
const DRAINED: &str = "the server is about to stop; connect again";
const LIFETIME: &str = "the time a session may last is over";
const SILENCE: &str = "the peer is silent";
const PEER_GONE: &str = "the peer went away";

/// Waits for what ends a session from our side.
async fn reason_to_end(
    core: &Core,
    shared: &Shared,
    control: &dyn Control,
    login_end: Instant,
) -> &'static str {
    let lifetime = shared.active.config.limits.session_lifetime_seconds;
    let lifetime_over = async {
        match lifetime {
            0 => std::future::pending().await,
            seconds => sleep(Duration::from_secs(seconds.into())).await,
        }
    };
    let login_over = async {
        tokio::select! {
            () = sleep_until(login_end) => {}
            () = shared.authenticated.cancelled() => std::future::pending().await,
        }
    };
    tokio::select! {
        () = login_over => {
            count(&core.counters.login_timeouts);
            LOGIN_TIMEOUT
        }
        () = lifetime_over => LIFETIME,
        () = core.drained() => DRAINED,
        () = shared.silence(control) => SILENCE,
        reason = shared.asked_to_end() => reason,
    }
}

/// Tells the peer why, then sees to it that the session ends.
async fn say_goodbye(
    shared: &Shared,
    control: &dyn Control,
    session: &mut RunningSession<RusshHandler>,
    reason: &str,
) {
    let handle = session.handle();
    let goodbye = handle.disconnect(
        russh::Disconnect::ByApplication,
        reason.to_owned(),
        String::new(),
    );
    let _ = timeout(GOODBYE, goodbye).await;
    shared.over.cancel();
    linger(control, session).await;
}

/// Gives the session time to end by itself, then none.
async fn linger(control: &dyn Control, session: &mut RunningSession<RusshHandler>) {
    if timeout(LINGER, &mut *session).await.is_err() {
        control.trip();
        if timeout(LINGER, session).await.is_err() {
            tracing::error!("a session did not end although its stream was cut");
        }
    }
}

fn describe(end: Result<(), russh::Error>) -> String {
    match end {
        Ok(()) => "the session ended".to_owned(),
        // How every session of a stock client ends: ssh has its ProxyCommand
        // ended, which closes the connection under the stream.
        Err(russh::Error::IO(error))
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::NotConnected
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
            ) =>
        {
            PEER_GONE.to_owned()
        }
        Err(error) => error.to_string(),
    }
}

impl Shared {
    /// The peer has proven who it is.
    pub(super) fn authenticated(&self) {
        self.authenticated.cancel();
    }

    /// Asks for the session's end; the peer is told the reason.
    pub(super) fn end(&self, reason: &'static str) {
        let _ = self.end.set(reason);
        self.end_notify.notify_one();
    }

    async fn asked_to_end(&self) -> &'static str {
        loop {
            let notified = self.end_notify.notified();
            if let Some(reason) = self.end.get() {
                return reason;
            }
            notified.await;
        }
    }

    /// russh asks a silent peer for a sign of life, but not while it waits for
    /// that peer to read: this covers the time in which nothing moves at all.
    async fn silence(&self, control: &dyn Control) {
        let limits = &self.active.config.limits;
        let Some(interval) = self.active.russh.keepalive_interval else {
            return std::future::pending().await;
        };
        let patience = interval * (limits.client_alive_count_max + 1);
        loop {
            let before = control.moved();
            sleep(patience).await;
            if control.moved() == before {
                return;
            }
        }
    }
}
