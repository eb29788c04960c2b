//! The life of one SSH connection: its protocol, its goodbye, its end by
//! revocation or silence.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use alknet_handler::{BoxStream, Connection, Identity, IdentityError};
use alknet_ssh_config::AuditEvent;
use russh::server::RunningSession;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::russh_handler::RusshHandler;
use super::version_exchange;
use crate::connection::transport::{Control, Transport};
use crate::server::admission::Startup;
use crate::server::audit::millis;
use crate::server::auth::{
    Authenticator, Claims, ConnectionIdentity, Credential, Holder, Recorder,
};
use crate::server::display::Peer as Address;
use crate::server::exec::jobs;
use crate::server::process::Origin;
use crate::server::session::context::SessionContext;
use crate::server::session::endpoint::Endpoint;
use crate::server::state::end::SessionEndReason;
use crate::server::state::server_state::{ActiveConfig, ServerState};
use crate::server::state::sessions::LiveSession;
use crate::server::status::{Live, count};

/// The time that a peer has, after the disconnect message, to take what was
/// sent before and to close.
const LINGER: Duration = Duration::from_secs(10);
/// The same for a stranger, and for a peer that said goodbye: nothing is left
/// that anybody waits for.
const STRANGER_LINGER: Duration = Duration::from_millis(300);
/// The time that a peer has to take what was sent before its session failed.
const LAST_BYTES: Duration = Duration::from_secs(3);
/// The bytes that a peer may send before its log-in on one stream, and those
/// that are read of it while it does not take our answers: a log-in with many
/// keys and certificates needs about 60 KiB.
const STRANGER_BYTES: u64 = 128 << 10;
const STRANGER_READ_AHEAD: usize = 16 << 10;
/// The time that the disconnect message may wait for a place in russh's queue.
const GOODBYE: Duration = Duration::from_secs(1);

/// The time that a client may take from its first encrypted byte to the request
/// for the only service there is before the log-in. russh neither answers nor
/// tells us of a request for another one.
const SERVICE_WITHIN: Duration = Duration::from_secs(5);

/// The interval at which the peer's address is looked at.
const LOOK_AT_ADDRESS: Duration = Duration::from_secs(3);
/// The number of times that the identity store is asked about a live session,
/// the time for each, and the pause between two.
const LOOK_UPS: u32 = 3;
const LOOK_UP: Duration = Duration::from_secs(3);
const BETWEEN_LOOK_UPS: Duration = Duration::from_millis(300);

/// The other end of a stream.
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    /// The node's own address.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) owner: Arc<ConnectionIdentity>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// The connection's place among those without a log-in; `None` where it
    /// already belongs to an identity.
    pub(crate) startup: Option<Startup>,
}

/// Serves one SSH connection from the first byte to the last process.
pub(crate) async fn serve(
    core: Arc<ServerState>,
    active: Arc<ActiveConfig>,
    stream: BoxStream,
    peer: Peer,
) {
    let _live = Live::new(&core.counters.sessions);
    count(&core.counters.sessions_total);
    let address = peer.address;
    tracing::info!(target: "alknet_ssh::auth", remote_addr = %Address(address), "connection opened");
    let origin = Origin {
        peer: address,
        local: peer.local,
    };
    let shared = SessionContext::new(&core, active, peer.connection, origin, peer.startup);
    let shared = Arc::new(shared);
    let id = shared.id;
    shared.audit.record(|| AuditEvent::SessionOpened);
    let live: Arc<dyn LiveSession> = Arc::<SessionContext>::clone(&shared);
    let listed = core.list.enter(&live);
    let context = LoginContext {
        owner: Arc::clone(&peer.owner),
        endpoint: peer.endpoint,
        refused: Arc::default(),
    };
    let refused = Arc::clone(&context.refused);
    let (end, traffic) = run(&core, &shared, stream, context).await;
    core.counters.metrics.ended(end.label());
    if !shared.authenticated.is_cancelled() && !peer.owner.is_known() {
        let refused = refused.load(Ordering::Relaxed);
        if let Some(offence) = end.offence(refused) {
            let limits = &core.active().config.limits;
            core.admission.penalise(address, offence, limits);
        }
    }
    drop(shared.take_startup());
    shared.over.cancel();
    shared.listeners.close();
    shared.listeners.wait().await;
    shared.channels.close();
    shared.channels.wait().await;
    if shared.takes_jobs() {
        jobs::end_session(&core, id).await;
    }
    drop(listed);
    shared.audit.record(|| AuditEvent::SessionClosed {
        reason: end.to_string(),
        bytes_received: traffic.0,
        bytes_sent: traffic.1,
        duration_ms: millis(shared.opened.elapsed()),
    });
    let event = if shared.authenticated.is_cancelled() {
        "connection closed"
    } else {
        "connection rejected"
    };
    tracing::info!(
        target: "alknet_ssh::auth",
        remote_addr = %Address(address),
        reason = %end,
        "{event}"
    );
}

/// What the log-in of a session works with.
struct LoginContext {
    owner: Arc<ConnectionIdentity>,
    endpoint: Option<Arc<Endpoint>>,
    /// Whether an attempt was refused.
    refused: Arc<AtomicBool>,
}

/// Runs the protocol. Returns why it ended, and the bytes received and sent.
async fn run(
    core: &ServerState,
    shared: &Arc<SessionContext>,
    stream: BoxStream,
    context: LoginContext,
) -> (SessionEndReason, (u64, u64)) {
    let authenticator = Authenticator::new(
        Arc::clone(&core.identities),
        Arc::clone(&core.counters),
        shared.origin.peer,
        &shared.active.config.limits,
        Claims {
            owner: context.owner,
            accounts: core.accounts.clone(),
        },
        Arc::clone(&core.login_rules),
        Recorder {
            audit: shared.audit.clone(),
            refused: context.refused,
        },
    );
    let (transport, control) = Transport::new(
        stream,
        STRANGER_READ_AHEAD,
        Some(Arc::clone(&shared.counters.metrics.bytes)),
    );
    control.before_login(STRANGER_BYTES, &core.budget);
    let handler = RusshHandler::new(
        authenticator,
        context.endpoint,
        Arc::clone(shared),
        Arc::clone(&control),
    );
    let end = converse(core, shared, transport, control.as_ref(), handler).await;
    (end, control.bytes())
}

async fn converse(
    core: &ServerState,
    shared: &Arc<SessionContext>,
    mut transport: Transport<BoxStream>,
    control: &dyn Control,
    handler: RusshHandler,
) -> SessionEndReason {
    let grace = shared.active.config.limits.login_grace_seconds;
    let login_end = Instant::now() + Duration::from_secs(grace.into());
    let mut revision = core.revision();
    let setup = async {
        let client_version = version_exchange::exchange(&mut transport).await?;
        shared
            .our_client
            .store(client_version.is_ours, Ordering::Relaxed);
        let asks = client_version.asks_for_channel;
        shared.asks_for_channel.store(asks, Ordering::Relaxed);
        let config = shared.active.russh_for(client_version.kind);
        russh::server::run_stream(config, transport, handler).await
    };
    let mut session = tokio::select! {
        setup = setup => match setup {
            Ok(session) => session,
            Err(error) => return failed(shared, control, error).await,
        },
        () = sleep_until(login_end) => {
            count(&core.counters.login_timeouts);
            return SessionEndReason::LoginGrace;
        }
        () = core.drained() => return core.drain_end(),
    };
    tokio::select! {
        outcome = &mut session => match outcome {
            Ok(()) => SessionEndReason::Normal,
            Err(error) => failed(shared, control, error).await,
        },
        end = reason_to_end(core, shared, control, login_end, &mut revision) => {
            if end.takes_jobs() {
                shared.take_jobs();
            }
            say_goodbye(shared, control, &mut session, &end).await;
            end
        }
        () = control.shut_down() => {
            shared.over.cancel();
            linger(control, &mut session, STRANGER_LINGER).await;
            SessionEndReason::Normal
        }
    }
}

/// Ends a session that broke off so that what was sent before still reaches the
/// peer, which can only then say what it finds wrong (such as that no algorithm
/// is common).
async fn failed(
    shared: &SessionContext,
    control: &dyn Control,
    error: russh::Error,
) -> SessionEndReason {
    let end = SessionEndReason::of_error(error);
    if !matches!(end, SessionEndReason::PeerGone) {
        let time = shared.linger(LAST_BYTES);
        let _ = timeout(time, control.finish()).await;
    }
    end
}

/// Waits for what ends a session from our side.
async fn reason_to_end(
    core: &ServerState,
    shared: &SessionContext,
    control: &dyn Control,
    login_end: Instant,
    revision: &mut watch::Receiver<u64>,
) -> SessionEndReason {
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
            SessionEndReason::LoginGrace
        }
        () = shared.no_service(control) => SessionEndReason::NoService,
        () = lifetime_over => SessionEndReason::Lifetime,
        () = core.drained() => core.drain_end(),
        () = shared.silence(control) => SessionEndReason::Silence,
        () = shared.unused() => SessionEndReason::Unused,
        end = shared.revoked(core, revision) => end,
        end = shared.asked_to_end() => end,
    }
}

/// Tells the peer why, then sees to it that the session ends.
async fn say_goodbye(
    shared: &SessionContext,
    control: &dyn Control,
    session: &mut RunningSession<RusshHandler>,
    end: &SessionEndReason,
) {
    let handle = session.handle();
    let goodbye = handle.disconnect(end.disconnect(), end.to_string(), String::new());
    let _ = timeout(shared.linger(GOODBYE), goodbye).await;
    shared.over.cancel();
    linger(control, session, shared.linger(LINGER)).await;
}

/// Gives the session time to end by itself, then none.
async fn linger(control: &dyn Control, session: &mut RunningSession<RusshHandler>, time: Duration) {
    if timeout(time, &mut *session).await.is_err() {
        control.trip();
        if timeout(LINGER, session).await.is_err() {
            tracing::error!("a session did not end although its stream was cut");
        }
    }
}

/// Asks the store a few times: a session is not to end because of a hiccup.
async fn look_up_again(
    core: &ServerState,
    credential: &Credential,
) -> Result<Option<Identity>, IdentityError> {
    let mut attempt = 1;
    loop {
        let answer = timeout(LOOK_UP, credential.resolve(core.identities.as_ref()));
        let error = match answer.await {
            Ok(Ok(identity)) => return Ok(identity),
            Ok(Err(error)) => error,
            Err(_) => IdentityError(format!("no answer within {LOOK_UP:?}")),
        };
        if attempt == LOOK_UPS {
            return Err(error);
        }
        attempt += 1;
        sleep(BETWEEN_LOOK_UPS).await;
    }
}

impl SessionContext {
    /// How long to wait for the peer at the end: `time` where somebody has
    /// logged in.
    fn linger(&self, time: Duration) -> Duration {
        if self.authenticated.is_cancelled() {
            time
        } else {
            time.min(STRANGER_LINGER)
        }
    }

    /// Follows changes of the policy, of identities and of the peer's address:
    /// what is no longer granted ends. Completes when that is the whole session.
    async fn revoked(
        &self,
        core: &ServerState,
        revision: &mut watch::Receiver<u64>,
    ) -> SessionEndReason {
        self.authenticated.cancelled().await;
        let mut address = self.origin.peer.map(|peer| peer.ip());
        loop {
            let Some(holder) = self.access.holder() else {
                return SessionEndReason::Revoked;
            };
            tokio::select! {
                changed = revision.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                moved = self.moved(address) => address = moved,
                () = jobs::until(holder.expires), if holder.expires.is_some() => {}
            }
            revision.mark_unchanged();
            let credential = &holder.credential;
            if credential.check(&core.login_rules()).is_err() || !credential.admits(address) {
                return SessionEndReason::Revoked;
            }
            // Rules first: the look-up may take its time.
            let by_rules = self.access.update(holder.clone());
            let identity = match look_up_again(core, &holder.credential).await {
                Ok(Some(identity)) if identity.id == holder.identity.id => identity,
                Ok(_) => return SessionEndReason::Revoked,
                Err(error) => {
                    tracing::error!(%error, "an identity look-up failed");
                    return SessionEndReason::Unconfirmed;
                }
            };
            let now = SystemTime::now();
            let (account, user) = (holder.account, holder.user);
            let holder = Holder::new(
                holder.credential,
                identity,
                &user,
                address,
                &core.accounts,
                now,
            );
            let Ok(holder) = holder else {
                return SessionEndReason::Revoked;
            };
            if holder.account != account {
                return SessionEndReason::Revoked;
            }
            let revoked = by_rules + self.access.update(holder);
            if revoked > 0 {
                tracing::info!(
                    target: "alknet_ssh::policy",
                    remote_addr = %Address(self.origin.peer),
                    revoked,
                    "permissions changed"
                );
            }
        }
    }

    /// Completes when the peer is known to be at another address than this one,
    /// or comes through a relay now, which proves none.
    async fn moved(&self, from: Option<IpAddr>) -> Option<IpAddr> {
        loop {
            sleep(LOOK_AT_ADDRESS).await;
            self.away_since();
            let present = self.connection.remote_addr().map(|peer| peer.ip());
            let is_known = present.is_some() || self.connection.is_relayed();
            if is_known && present != from {
                return present;
            }
        }
    }

    /// Completes when the client has asked for something, but not for the
    /// service that is there before the log-in.
    async fn no_service(&self, control: &dyn Control) {
        control.encrypted().await;
        tokio::select! {
            () = sleep(SERVICE_WITHIN) => {}
            () = self.service.cancelled() => std::future::pending().await,
        }
    }

    /// Completes when no channel has been open for as long as is configured.
    async fn unused(&self) {
        self.authenticated.cancelled().await;
        let mut taken = self.taken.subscribe();
        loop {
            let seconds = self.core.active().config.limits.session_idle_seconds;
            let unused = *taken.borrow_and_update() == 0 && seconds > 0;
            let time_limit = async {
                if unused {
                    sleep(Duration::from_secs(seconds.into())).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = time_limit => return,
                _ = taken.changed() => {}
            }
        }
    }

    /// russh asks a silent peer for a sign of life, but not while it waits for
    /// that peer to read: this covers the time in which nothing moves at all.
    async fn silence(&self, control: &dyn Control) {
        let limits = &self.active.config.limits;
        let Some(interval) = self.active.russh.keepalive_interval else {
            return std::future::pending().await;
        };
        let time_limit = interval * (limits.client_alive_count_max + 1);
        loop {
            let before = control.moved();
            sleep(time_limit).await;
            if control.moved() == before {
                return;
            }
        }
    }
}
