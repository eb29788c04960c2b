//! The ground on which the parts of one SSH connection stand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use alknet_handler::Connection;
use alknet_ssh_config::SshConfig;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::queue::Budget;
use crate::connection::window::{KeysDue, Sizes, Windows};
use crate::server::admission::Startup;
use crate::server::audit::{About, SessionAudit};
use crate::server::display::Peer as Address;
use crate::server::flight::Flights;
use crate::server::metrics::{ChannelKind, RequestKind, Verdict};
use crate::server::process::Origin;
use crate::server::state::access::Access;
use crate::server::state::end::SessionEndReason;
use crate::server::state::server_state::{ActiveConfig, ServerState};
use crate::server::state::sessions::LiveSession;
use crate::server::status::{Counters, Live, count};

/// The time that nothing has been heard of a peer when the transport says that
/// it is away.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// What the parts of one SSH connection share.
pub(crate) struct SessionContext {
    pub(crate) active: Arc<ActiveConfig>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) origin: Origin,
    /// Its number among those of the handler.
    pub(crate) id: u64,
    /// Whether all its jobs end with it, those left behind too.
    takes_jobs: AtomicBool,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) access: Access,
    /// Whether the peer says that it is our own client.
    pub(crate) our_client: AtomicBool,
    /// Whether we are to open the channel of the peer's first command.
    pub(crate) asks_for_channel: AtomicBool,
    pub(crate) since: SystemTime,
    pub(crate) opened: Instant,
    pub(crate) core: Arc<ServerState>,
    pub(crate) audit: SessionAudit,
    budget: Budget,
    windows: Mutex<Windows>,
    places: Arc<Semaphore>,
    /// The number of channels that are taken.
    pub(crate) taken: Arc<watch::Sender<usize>>,
    /// The place among those without a log-in, given back once somebody has
    /// logged in.
    startup: Mutex<Option<Startup>>,
    /// The time since which the peer has been seen to be away.
    away: Mutex<Option<SystemTime>>,
    /// Cancelled when the connection is over: every child and task ends.
    pub(crate) over: CancellationToken,
    /// What each channel has on its way to the peer.
    pub(crate) flights: Flights,
    pub(crate) channels: TaskTracker,
    pub(crate) listeners: TaskTracker,
    /// Cancelled when the client has asked for the service `ssh-userauth`.
    pub(crate) service: CancellationToken,
    pub(crate) authenticated: CancellationToken,
    end: OnceLock<SessionEndReason>,
    end_notify: Notify,
}

/// One of the channels a connection may have; given back when dropped.
pub(crate) struct ChannelSlot {
    _permit: OwnedSemaphorePermit,
    _live: Live,
    taken: Arc<watch::Sender<usize>>,
}

impl Drop for ChannelSlot {
    fn drop(&mut self) {
        self.taken
            .send_modify(|taken| *taken = taken.saturating_sub(1));
    }
}

impl SessionContext {
    /// The context of a new connection. `address` is the peer's and `local`
    /// ours, where they are known.
    pub(crate) fn new(
        core: &Arc<ServerState>,
        active: Arc<ActiveConfig>,
        connection: Arc<dyn Connection>,
        origin: Origin,
        startup: Option<Startup>,
    ) -> Self {
        let config = &active.config;
        let buffer = config.limits.session_buffer_bytes;
        let budget = core
            .budget
            .part(buffer.max(config.transport.window_bytes) as usize);
        let id = core.list.next_id();
        Self {
            audit: SessionAudit::new(Arc::<ServerState>::clone(core), id, origin.peer),
            taken: Arc::default(),
            startup: Mutex::new(startup),
            counters: Arc::clone(&core.counters),
            origin,
            id,
            takes_jobs: AtomicBool::new(false),
            connection,
            away: Mutex::default(),
            our_client: AtomicBool::new(false),
            asks_for_channel: AtomicBool::new(false),
            access: Access::new(Arc::clone(&core.permissions)),
            since: SystemTime::now(),
            opened: Instant::now(),
            core: Arc::clone(core),
            windows: Mutex::new(windows(config, &budget)),
            budget,
            places: Arc::new(Semaphore::new(config.limits.max_channels as usize)),
            over: CancellationToken::new(),
            flights: Flights::default(),
            channels: TaskTracker::new(),
            listeners: TaskTracker::new(),
            service: CancellationToken::new(),
            authenticated: CancellationToken::new(),
            end: OnceLock::new(),
            end_notify: Notify::new(),
            active,
        }
    }

    /// Notes that the peer has proven who it is.
    pub(crate) fn authenticated(&self) {
        self.authenticated.cancel();
        drop(self.take_startup());
    }

    /// Whether the peer grants half a window at a time: russh does.
    pub(crate) fn grants_coarsely(&self) -> bool {
        self.our_client.load(Ordering::Relaxed)
    }

    /// Has all its jobs end with it, those left behind too.
    pub(crate) fn take_jobs(&self) {
        self.takes_jobs.store(true, Ordering::Relaxed);
    }

    /// Whether all its jobs end with it, those left behind too.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.takes_jobs.load(Ordering::Relaxed)
    }

    /// The place among those that have not logged in, once.
    pub(crate) fn take_startup(&self) -> Option<Startup> {
        let mut startup = self.startup.lock().unwrap_or_else(PoisonError::into_inner);
        startup.take()
    }

    /// Asks for the session's end; the peer is told the reason.
    pub(crate) fn end(&self, end: SessionEndReason) {
        let _ = self.end.set(end);
        self.end_notify.notify_one();
    }

    /// The id of the peer's identity; empty before it has logged in.
    pub(crate) fn identity(&self) -> String {
        let holder = self.access.holder();
        holder.map_or_else(String::new, |holder| holder.identity.id)
    }

    /// The forced command of the peer's credentials, if any.
    pub(crate) fn forced_command(&self) -> Option<Vec<u8>> {
        self.access.restrictions().ok()?.force_command
    }

    /// The command that runs when the peer asks for one.
    pub(crate) fn restricted_to(&self, asked: &[u8]) -> Vec<u8> {
        self.forced_command().unwrap_or_else(|| asked.to_vec())
    }

    pub(crate) fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the whole connection waits for queues to be emptied.
    pub(crate) fn is_held(&self) -> bool {
        self.budget.room() == 0
    }

    /// Room for one more channel, if there is any.
    pub(crate) fn channel_slot(&self) -> Option<ChannelSlot> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.taken.send_modify(|taken| *taken += 1);
        Some(ChannelSlot {
            taken: Arc::clone(&self.taken),
            _permit: permit,
            _live: Live::new(&self.counters.channels),
        })
    }

    /// Counts and logs a request that was refused, without its destination.
    pub(crate) fn deny(&self, kind: RequestKind, reason: &dyn std::fmt::Display) {
        self.audit
            .request(kind.name(), Verdict::Denied, Some(reason));
        self.log_denied(kind.name(), reason);
    }

    /// Counts, records and logs a channel for which there is no room.
    pub(crate) fn no_channel_slot(&self, kind: ChannelKind) {
        self.counters.metrics.channel(kind, Verdict::Failed);
        let reason = format!(
            "more than {} channels at a time (/limits/max_channels)",
            self.active.config.limits.max_channels
        );
        let about = About {
            kind,
            destination: None,
        };
        self.audit.not_opened(&about, Verdict::Failed, &reason);
        if let Some(left_out) = self.core.channel_refusals.pass() {
            let holder = self.access.holder();
            tracing::warn!(
                target: "alknet_ssh::limits",
                remote_addr = %Address(self.origin.peer),
                identity = %holder.as_ref().map_or("", |holder| &holder.identity.id),
                kind = kind.name(),
                reason,
                left_out,
                "channel refused"
            );
        }
    }

    /// Logs a refusal that the audit stream records in its own way.
    pub(crate) fn log_denied(&self, what: &str, reason: &dyn std::fmt::Display) {
        count(&self.counters.requests_denied);
        let holder = self.access.holder();
        tracing::info!(
            target: "alknet_ssh::policy",
            remote_addr = %Address(self.origin.peer),
            identity = %holder.as_ref().map_or("", |holder| &holder.identity.id),
            request = what,
            reason = %reason,
            "request denied"
        );
    }

    /// The time since which nothing has been heard of the peer, to some
    /// seconds; `None` for one that is there, and over TCP, where it is not
    /// known.
    pub(crate) fn away_since(&self) -> Option<SystemTime> {
        let has_address = || self.connection.remote_addr().is_some();
        let is_away = self.origin.peer.is_some() && !has_address() && !self.connection.is_relayed();
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if is_away {
            let now = SystemTime::now();
            away.get_or_insert(now.checked_sub(AWAY_AFTER).unwrap_or(now));
        } else {
            *away = None;
        }
        *away
    }

    /// Completes with the reason when somebody has asked for the session's end.
    pub(crate) async fn asked_to_end(&self) -> SessionEndReason {
        loop {
            let notified = self.end_notify.notified();
            if let Some(end) = self.end.get() {
                return end.clone();
            }
            notified.await;
        }
    }
}

impl LiveSession for SessionContext {
    fn id(&self) -> u64 {
        self.id
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.origin.peer
    }

    fn identity(&self) -> String {
        self.identity()
    }

    fn since(&self) -> SystemTime {
        self.since
    }

    fn away_since(&self) -> Option<SystemTime> {
        self.away_since()
    }

    fn channels(&self) -> usize {
        self.channels.len()
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn end(&self, end: SessionEndReason) {
        self.end(end);
    }
}

fn windows(config: &SshConfig, budget: &Budget) -> Windows {
    let transport = &config.transport;
    let sizes = Sizes {
        first: transport.window_bytes,
        largest: transport.max_window_bytes.max(transport.window_bytes),
    };
    let keys = KeysDue::after(
        Duration::from_secs(transport.rekey_seconds.into()),
        transport.rekey_bytes,
        sizes.largest,
        std::time::Instant::now(),
    );
    let queue_limit = config.limits.channel_buffer_bytes as usize;
    Windows::new(sizes, queue_limit, budget.clone(), keys)
}
