//! The state of the node and its sessions, as `status` and `sessions list`
//! print it in JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_control::{ControlRequest, SessionInfo};
use alknet_loader::{Generation, Registry, shown_alpn};
use alknet_lookup::LookupStatus;
use alknet_session::{Job, Mode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::walls::unconfined;

use super::service::{AdminService, Ending, control};
use crate::any_path;
use crate::metrics::traffic::{self, Traffic};
use crate::metrics::{counters, ended};
use crate::node::iroh::IrohEndpoint;
use crate::node::iroh_status::IrohStatus;

/// The state of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The node itself.
    pub(crate) node: NodeStatus,
    /// The configuration in force.
    pub(crate) config: ConfigStatus,
    /// The generations that serve, and those that were replaced and have
    /// connections left, oldest first.
    pub(crate) generations: Vec<GenerationStatus>,
    /// By plugin: the counters of its handlers, of all generations since the
    /// start together.
    #[serde(default)]
    pub(crate) totals: BTreeMap<String, Map<String, Value>>,
    /// Plugin files that were refused when they were looked at last.
    pub(crate) refused: Vec<RefusedFile>,
    /// The program that is asked who a peer is, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lookup: Option<LookupStatus>,
    /// What went over all connections since the start.
    #[serde(default)]
    pub(crate) traffic: Traffic,
    /// The same by peer.
    #[serde(default)]
    pub(crate) peers: BTreeMap<String, Traffic>,
}

/// The node itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) since_unix_ms: u64,
    /// `serving`, `draining` or `stopping`.
    pub(crate) state: String,
    /// The UDP address.
    pub(crate) listen: String,
    /// The TCP address, if there is one.
    pub(crate) tcp_listen: Option<String>,
    pub(crate) node_key: String,
    /// How the node is reached through iroh, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iroh: Option<IrohStatus>,
    /// Whose rights peers' processes get: `owner` or `accounts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) processes: Option<Mode>,
    /// The peers whose processes are not confined.
    #[serde(default)]
    pub(crate) unconfined: Vec<String>,
    /// Why other peers' processes are refused here, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) no_confinement: Option<String>,
    /// Jobs of peers that go on although their channel has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) background_jobs: Option<usize>,
    /// The memory of the process, in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// Libraries it has loaded, which it never unloads.
    pub(crate) libraries: usize,
    /// Log records that were dropped because standard error did not take them.
    #[serde(default)]
    pub(crate) log_records_dropped: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    #[serde(with = "any_path")]
    pub(crate) file: PathBuf,
    pub(crate) generation: u64,
    pub(crate) since_unix_ms: u64,
}

/// One version of a plugin with its handler.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GenerationStatus {
    pub(crate) id: u64,
    pub(crate) plugin: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    #[serde(with = "any_path")]
    pub(crate) file: PathBuf,
    pub(crate) alpns: Vec<String>,
    /// `serving` or `draining`.
    pub(crate) state: String,
    pub(crate) since_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draining_since_unix_ms: Option<u64>,
    /// The deadline of the drain; absent where it lasts until the last
    /// connection ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draining_until_unix_ms: Option<u64>,
    pub(crate) connections: usize,
    /// The open sessions, where the handler counts them.
    pub(crate) sessions: Option<u64>,
    /// The handler's own status.
    pub(crate) handler: Value,
}

/// A plugin file that was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefusedFile {
    #[serde(with = "any_path")]
    pub(crate) file: PathBuf,
    pub(crate) at_unix_ms: u64,
    pub(crate) reasons: Vec<String>,
}

/// The sessions of all plugins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
}

/// One session, as far as its plugin tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) plugin: String,
    pub(crate) generation: u64,
    /// The session's number within its generation.
    pub(crate) id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote_addr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since_unix_ms: Option<u64>,
    /// The time since which nothing was heard from the peer; absent while it
    /// is heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) away_since_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channels: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forwards: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listeners: Option<u64>,
    /// The session's jobs that go on although their channel has ended.
    #[serde(default)]
    pub(crate) background_jobs: u64,
    /// Whether the session itself has ended, so that only those jobs are left.
    #[serde(default)]
    pub(crate) ended: bool,
}

/// What was ended at an operator's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// The number of sessions.
    #[serde(default)]
    pub(crate) sessions: usize,
    /// The number of jobs that went on although their channel had ended.
    #[serde(default)]
    pub(crate) background_jobs: usize,
}

impl Status {
    /// The status of the node behind this service.
    pub(super) fn of(service: &AdminService) -> Self {
        let swapper = &service.swapper;
        let serving = swapper.registry.generations();
        let generations = swapper.registry.live();
        let info = &service.info;
        let state = match service.asked_to_end() {
            _ if swapper.reloader.is_stopping() => "stopping",
            Ending::No => "serving",
            Ending::Drain => "draining",
            Ending::Stop | Ending::Now => "stopping",
        };
        let generations: Vec<GenerationStatus> = generations
            .iter()
            .filter(|generation| !generation.has_ended())
            .map(|generation| {
                let serves = serving.iter().any(|serving| serving.id == generation.id);
                GenerationStatus::of(generation, serves)
            })
            .collect();
        Self {
            totals: totals(&generations),
            lookup: (swapper.identities.lookup.as_ref()).map(|lookup| lookup.status()),
            traffic: traffic::all(),
            peers: traffic::by_peer(),
            node: NodeStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                since_unix_ms: unix_ms(info.since),
                state: state.to_owned(),
                listen: info.listen.clone(),
                tcp_listen: info.tcp_listen.clone(),
                node_key: info.node_key.clone(),
                iroh: info.iroh.as_ref().map(IrohEndpoint::status),
                processes: swapper.walls.as_ref().map(|walls| walls.mode()),
                unconfined: unconfined(&swapper.identities.peers.config()),
                no_confinement: swapper
                    .walls
                    .as_ref()
                    .and_then(|walls| walls.no_confinement())
                    .map(str::to_owned),
                background_jobs: service.background_jobs().ok().map(|jobs| jobs.len()),
                memory_bytes: memory_bytes(),
                libraries: swapper.libraries.count(),
                log_records_dropped: counters::log_records_dropped(),
            },
            config: ConfigStatus {
                file: swapper.reloader.file().to_owned(),
                generation: swapper.reloader.generation(),
                since_unix_ms: unix_ms(swapper.reloader.since()),
            },
            generations,
            refused: swapper
                .refused()
                .into_iter()
                .map(|refused| RefusedFile {
                    file: refused.file,
                    at_unix_ms: unix_ms(refused.at),
                    reasons: refused.reasons,
                })
                .collect(),
        }
    }
}

/// The counters of generations that are live and of those that have ended.
fn totals(live: &[GenerationStatus]) -> BTreeMap<String, Map<String, Value>> {
    let mut totals = ended::all();
    for generation in live {
        if let Value::Object(status) = &generation.handler {
            let sums = totals.entry(generation.plugin.clone()).or_default();
            ended::add(sums, status);
        }
    }
    for sums in totals.values_mut() {
        sums.remove("metrics");
    }
    totals
}

impl GenerationStatus {
    fn of(generation: &Generation, serves: bool) -> Self {
        let text = generation.handler.status();
        let handler: Value = serde_json::from_str(&text).unwrap_or_default();
        let draining = generation.draining();
        let alpns = generation.library.alpns();
        Self {
            id: generation.id,
            plugin: generation.plugin.clone(),
            version: generation.version.to_string(),
            digest: generation.digest.to_string(),
            file: generation.file.clone(),
            alpns: alpns.map(shown_alpn).collect(),
            state: if serves { "serving" } else { "draining" }.to_owned(),
            since_unix_ms: unix_ms(generation.since),
            draining_since_unix_ms: draining.map(|draining| unix_ms(draining.since)),
            draining_until_unix_ms: draining.and_then(|draining| draining.until.map(unix_ms)),
            connections: generation.connections(),
            sessions: handler.get("sessions").and_then(Value::as_u64),
            handler,
        }
    }
}

impl Sessions {
    /// The sessions of all live generations, and those that have left these
    /// jobs in the background.
    pub(super) fn of(registry: &Registry, jobs: &[Job]) -> Self {
        let mut sessions = Vec::new();
        let live = registry.live();
        for generation in &live {
            // A handler without sessions knows no such command.
            let Some(answer) = control(generation, &ControlRequest::Sessions {}) else {
                continue;
            };
            let listed = answer.get("sessions").and_then(Value::as_array);
            sessions.extend(
                listed
                    .into_iter()
                    .flatten()
                    .filter_map(|session| Session::of(generation, session)),
            );
        }
        for job in jobs {
            let (generation, id) = job.session;
            let of_job = |session: &&mut Session| (session.generation, session.id) == job.session;
            if let Some(session) = sessions.iter_mut().find(of_job) {
                session.background_jobs += 1;
                continue;
            }
            let plugin = live.iter().find(|live| live.id == generation);
            sessions.push(Session {
                plugin: plugin.map_or("-", |live| &live.plugin).to_owned(),
                generation,
                id,
                identity: Some(job.identity.clone()),
                background_jobs: 1,
                ended: true,
                ..Session::default()
            });
        }
        Self { sessions }
    }
}

impl Session {
    /// Reads what a handler tells of a session; `None` for one without a
    /// number.
    fn of(generation: &Generation, told: &Value) -> Option<Self> {
        let told = SessionInfo::deserialize(told).ok()?;
        Some(Self {
            plugin: generation.plugin.clone(),
            generation: generation.id,
            id: told.id,
            identity: told.identity,
            remote_addr: told.remote_addr,
            since_unix_ms: told.since_unix_ms,
            away_since_unix_ms: told.away_since_unix_ms,
            channels: told.channels,
            forwards: told.forwards,
            listeners: told.listeners,
            background_jobs: 0,
            ended: false,
        })
    }
}

/// Milliseconds since 1970.
fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The resident memory of the process, in bytes (proc(5)).
fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
