//! The state that all connections of a handler share: configuration, rules,
//! drain, counters.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use alknet_handler::{Capabilities, ConfigError, IdentityProvider};
use alknet_ssh_config::{SshConfig, SshConfigError};
use russh::keys::{Certificate, PrivateKey};
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::access::Permissions;
use super::end::SessionEndReason;
use super::listeners::AllListeners;
use super::sessions::Sessions;
use crate::connection::SSH_ID;
use crate::connection::algorithms::{self, ClientKind};
use crate::connection::host_certificates;
use crate::connection::queue::Budget;
use crate::server::admission::Admission;
use crate::server::audit::{Audit, AuditSource};
use crate::server::auth::{Accounts, LoginRules};
use crate::server::egress::resolve::{LookUps, Resolver};
use crate::server::egress::way_out::Egress;
use crate::server::process::Launcher;
use crate::server::status::Counters;
use crate::server::throttle::Throttle;

/// Messages russh keeps for one channel, and results it keeps for the whole
/// session. The latter bounds what is encrypted before the next read, and so
/// how long a key stroke waits behind a download.
const CHANNEL_MESSAGES: usize = 64;
const SESSION_MESSAGES: usize = 10;

/// The largest value of [`ActiveConfig::read_ahead`], in bytes.
const MOST_READ_AHEAD: usize = 16 << 20;

/// The longest a drain is timed; tokio's clock does not reach beyond all dates.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The state that all connections of a handler share.
pub(crate) struct ServerState {
    pub(crate) identities: Arc<dyn IdentityProvider>,
    pub(crate) counters: Arc<Counters>,
    /// The launcher of processes; without it none is started.
    pub(crate) launcher: Option<Launcher>,
    /// The accounts that peers log in to.
    pub(crate) accounts: Accounts,
    pub(crate) sessions: TaskTracker,
    pub(crate) list: Sessions,
    pub(crate) listeners: AllListeners,
    pub(crate) admission: Admission,
    /// The limit on log lines about connections that were turned away.
    pub(crate) rejections: Throttle,
    /// The limit on log lines about channels for which there was no room.
    pub(crate) channel_refusals: Throttle,
    /// The version that took the handler's place, in words for its peers.
    replaced: OnceLock<String>,
    generation: OnceLock<u64>,
    pub(crate) resolver: Arc<dyn Resolver>,
    /// The look-ups of names that are under way.
    pub(crate) look_ups: LookUps,
    capabilities: Capabilities,
    active: RwLock<Arc<ActiveConfig>>,
    /// The permissions of the active configuration.
    pub(crate) permissions: Arc<RwLock<Arc<Permissions>>>,
    /// The log-in rules of the active configuration.
    pub(crate) login_rules: Arc<RwLock<Arc<LoginRules>>>,
    /// The budget of unread input for all connections together.
    pub(crate) budget: Budget,
    /// Grows when identities or the policy may have changed.
    revision: watch::Sender<u64>,
    drain: watch::Sender<Option<Instant>>,
    /// Notified when the channel of another job has ended.
    pub(crate) detached: Arc<Notify>,
}

/// The configuration new sessions get.
pub(crate) struct ActiveConfig {
    pub(crate) config: SshConfig,
    pub(crate) egress: Egress,
    pub(crate) audit: Arc<Audit>,
    pub(crate) russh: Arc<russh::server::Config>,
    russh_for_unknown: Arc<russh::server::Config>,
    russh_for_libssh2: Arc<russh::server::Config>,
}

/// A configuration that may be put in force.
struct Next {
    active: ActiveConfig,
    permissions: Arc<Permissions>,
    login_rules: Arc<LoginRules>,
}

/// What decides under a configuration that need not be in force.
pub(crate) struct Candidate {
    pub(crate) config: SshConfig,
    pub(crate) permissions: Arc<Permissions>,
    pub(crate) login_rules: Arc<LoginRules>,
}

impl ServerState {
    pub(crate) fn new(
        config: SshConfig,
        host_keys: Vec<PrivateKey>,
        capabilities: Capabilities,
        identities: Arc<dyn IdentityProvider>,
        launcher: Option<Launcher>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, ConfigError> {
        config.validate().map_err(config_error)?;
        let permissions = permissions(&config, launcher.as_ref());
        let permissions = Arc::new(RwLock::new(permissions));
        let login_rules = LoginRules::read(&config.certificates)?;
        let budget = Budget::new(config.limits.total_buffer_bytes as usize);
        let counters: Arc<Counters> = Arc::default();
        let audit = Audit::new(&config.audit, None, &capabilities, &counters.metrics)?;
        let active = ActiveConfig::new(config, host_keys, &capabilities, audit)?;
        Ok(Self {
            permissions,
            login_rules: Arc::new(RwLock::new(Arc::new(login_rules))),
            budget,
            identities,
            resolver,
            look_ups: LookUps::default(),
            capabilities,
            counters,
            accounts: launcher
                .as_ref()
                .map_or_else(Accounts::default, Launcher::accounts),
            launcher,
            sessions: TaskTracker::new(),
            list: Sessions::default(),
            listeners: AllListeners::default(),
            admission: Admission::default(),
            rejections: Throttle::default(),
            channel_refusals: Throttle::default(),
            replaced: OnceLock::new(),
            generation: OnceLock::new(),
            active: RwLock::new(Arc::new(active)),
            revision: watch::Sender::new(0),
            drain: watch::Sender::new(None),
            detached: Arc::default(),
        })
    }

    pub(crate) fn active(&self) -> Arc<ActiveConfig> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number the node has given to the handler.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get().copied().unwrap_or_default()
    }

    pub(crate) fn set_generation(&self, generation: u64) {
        let _ = self.generation.set(generation);
    }

    pub(crate) fn reconfigure(&self, config: &str) -> Result<(), ConfigError> {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        let next = self.next(config, &active)?;
        *active = Arc::new(next.active);
        let in_force = self.permissions.write();
        *in_force.unwrap_or_else(PoisonError::into_inner) = next.permissions;
        let in_force = self.login_rules.write();
        *in_force.unwrap_or_else(PoisonError::into_inner) = next.login_rules;
        drop(active);
        self.permissions_changed();
        Ok(())
    }

    /// Checks whether [`reconfigure`](Self::reconfigure) would accept a
    /// configuration; nothing changes.
    pub(crate) fn check(&self, config: &str) -> Result<(), ConfigError> {
        self.next(config, &self.active()).map(drop)
    }

    /// What would decide if a configuration were in force.
    ///
    /// # Errors
    /// The first fault of the configuration, or of a file it names.
    pub(crate) fn would_decide(&self, config: &str) -> Result<Candidate, ConfigError> {
        let config = SshConfig::from_json(config).map_err(config_error)?;
        let permissions = permissions(&config, self.launcher.as_ref());
        let login_rules = Arc::new(LoginRules::read(&config.certificates)?);
        Ok(Candidate {
            config,
            permissions,
            login_rules,
        })
    }

    fn next(&self, config: &str, active: &ActiveConfig) -> Result<Next, ConfigError> {
        let config = SshConfig::from_json(config).map_err(config_error)?;
        if config.runtime != active.config.runtime {
            return Err(ConfigError {
                pointer: "/runtime/worker_threads".to_owned(),
                message: format!(
                    "{} cannot replace {} while the handler runs; restart it for this change",
                    config.runtime.worker_threads, active.config.runtime.worker_threads
                ),
            });
        }
        let host_keys = active.russh.keys.clone();
        let permissions = permissions(&config, self.launcher.as_ref());
        let login_rules = Arc::new(LoginRules::read(&config.certificates)?);
        let metrics = &self.counters.metrics;
        let before = Some(active.audit.as_ref());
        let audit = Audit::new(&config.audit, before, &self.capabilities, metrics)?;
        Ok(Next {
            active: ActiveConfig::new(config, host_keys, &self.capabilities, audit)?,
            permissions,
            login_rules,
        })
    }

    /// Has live sessions look up again who their peers are and what they may
    /// do.
    pub(crate) fn permissions_changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// The permissions in force for requests.
    pub(crate) fn permissions(&self) -> Arc<Permissions> {
        let permissions = self.permissions.read();
        Arc::clone(&permissions.unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the channel of another job has ended.
    pub(crate) fn jobs_changed(&self) {
        self.detached.notify_one();
    }

    /// Follows [`permissions_changed`](Self::permissions_changed).
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The rules in force for log-ins.
    pub(crate) fn login_rules(&self) -> Arc<LoginRules> {
        let rules = self.login_rules.read();
        Arc::clone(&rules.unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    /// Notes the version that has taken the handler's place, if any.
    pub(crate) fn set_replaced(&self, by: Option<&str>) {
        let _ = self.replaced.set(match by {
            Some(version) => {
                format!("this version was replaced by version {version}, and its time is over")
            }
            None => "the operator has taken this service away".to_owned(),
        });
    }

    /// The reason for which a session ends when the handler drains.
    pub(crate) fn drain_end(&self) -> SessionEndReason {
        match self.replaced.get() {
            Some(why) => SessionEndReason::Replaced(why.clone()),
            None => SessionEndReason::Drained,
        }
    }

    /// Completes when draining has begun.
    pub(crate) async fn draining(&self) {
        let mut drain = self.drain.subscribe();
        let _ = drain.wait_for(Option::is_some).await;
    }

    /// Completes when live sessions have to end because the handler drains.
    pub(crate) async fn drained(&self) {
        let mut drain = self.drain.subscribe();
        loop {
            let deadline = *drain.borrow_and_update();
            let wait = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => return,
                changed = drain.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    pub(crate) async fn drain(&self, deadline: Duration) {
        let now = Instant::now();
        // A deadline beyond all clocks is as good as none.
        let deadline = now.checked_add(deadline.min(CENTURY)).unwrap_or(now);
        self.drain.send_replace(Some(deadline));
        self.sessions.close();
        self.sessions.wait().await;
        let active = self.active();
        let _ = tokio::task::spawn_blocking(move || active.audit.flush()).await;
    }

    pub(crate) fn status(&self) -> String {
        let startups = self.admission.startups();
        let (penalised, sources) = self.admission.penalised();
        let mut status = self.counters.to_json(self.is_draining());
        if let Some(status) = status.as_object_mut() {
            status.insert("startups".to_owned(), startups.into());
            status.insert("penalised".to_owned(), penalised.into());
            status.insert("penalised_sources".to_owned(), sources);
        }
        status.to_string()
    }
}

impl ActiveConfig {
    fn new(
        config: SshConfig,
        host_keys: Vec<PrivateKey>,
        capabilities: &Capabilities,
        audit: Audit,
    ) -> Result<Self, ConfigError> {
        let files = &config.certificates.host_certificates;
        let certificates = host_certificates::read(files, &host_keys)?;
        let offer = |client| {
            let preferred = algorithms::for_server(client, config.transport.require_post_quantum);
            let (keys, certificates) = (host_keys.clone(), certificates.clone());
            Arc::new(russh_config(&config, keys, certificates, preferred))
        };
        Ok(Self {
            egress: Egress::new(&config.forwarding, capabilities)?,
            audit: Arc::new(audit),
            russh: offer(ClientKind::HasAesGcm),
            russh_for_unknown: offer(ClientKind::Unknown),
            russh_for_libssh2: offer(ClientKind::Libssh2),
            config,
        })
    }

    /// The configuration of russh with the algorithms for a kind of client.
    pub(crate) fn russh_for(&self, client: ClientKind) -> Arc<russh::server::Config> {
        Arc::clone(match client {
            ClientKind::HasAesGcm => &self.russh,
            ClientKind::Unknown => &self.russh_for_unknown,
            ClientKind::Libssh2 => &self.russh_for_libssh2,
        })
    }

    /// Bytes that are read while a write is held up, at most: what a peer may
    /// have under way on its channels, within reason. A peer that has more
    /// than that to say before it reads is left waiting.
    pub(crate) fn read_ahead(&self) -> usize {
        let channels = self.config.limits.max_channels as usize;
        let windows = channels * self.config.transport.window_bytes as usize;
        windows.min(MOST_READ_AHEAD) + (1 << 20)
    }
}

fn permissions(config: &SshConfig, launcher: Option<&Launcher>) -> Arc<Permissions> {
    // With a monitor nobody sees more than its account or its confinement; who
    // has no launcher starts nothing, and is only asked what a node would say.
    let has_walls = launcher.is_none_or(|launcher| launcher.monitor().is_some());
    let context = launcher.and_then(Launcher::context);
    let private = context.into_iter().flat_map(|context| &context.private);
    // Compared with real paths.
    let private = private.map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
    Arc::new(Permissions {
        policy: config.policy(),
        privileged_ports: config.forwarding.privileged_ports,
        has_sftp_root: has_walls || config.services.sftp.root.is_some(),
        private: private.collect(),
    })
}

fn russh_config(
    config: &SshConfig,
    keys: Vec<PrivateKey>,
    certificates: Vec<Certificate>,
    preferred: Preferred,
) -> russh::server::Config {
    let (limits, transport) = (&config.limits, &config.transport);
    let alive_interval = limits
        .client_alive_interval_seconds
        .max(limits.login_grace_seconds);
    let rekey_bytes = usize::try_from(transport.rekey_bytes).unwrap_or(usize::MAX);
    russh::server::Config {
        server_id: SshId::Standard(SSH_ID.into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        certificates,
        window_size: transport.window_bytes,
        maximum_packet_size: transport.max_packet_bytes,
        channel_buffer_size: CHANNEL_MESSAGES,
        event_buffer_size: SESSION_MESSAGES,
        limits: Limits {
            rekey_write_limit: rekey_bytes,
            rekey_read_limit: rekey_bytes,
            rekey_time_limit: Duration::from_secs(transport.rekey_seconds.into()),
        },
        preferred,
        // Ours count what matters; this is what catches the rest.
        max_auth_attempts: (limits.max_key_offers + limits.max_auth_tries) as usize + 1,
        inactivity_timeout: None,
        keepalive_interval: (limits.client_alive_interval_seconds > 0)
            .then(|| Duration::from_secs(alive_interval.into())),
        keepalive_max: limits.client_alive_count_max as usize,
        nodelay: false,
    }
}

impl AuditSource for ServerState {
    fn in_force(&self) -> (Arc<Audit>, u64) {
        (Arc::clone(&self.active().audit), self.generation())
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

fn config_error(error: SshConfigError) -> ConfigError {
    ConfigError {
        pointer: error.pointer,
        message: error.message,
    }
}
