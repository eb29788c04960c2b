//! What the node does for each admin request.

use std::sync::Arc;
use std::time::SystemTime;

use alknet_control::ControlRequest;
use alknet_loader::Generation;
use alknet_monitor::LinkError;
use alknet_session::{Job, JobFilter};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::protocol::{Request, done_line, refused_line};
use super::status::{Closed, Sessions, Status};
use crate::config::problem::{FaultReport, NodeError};
use crate::node::Node;
use crate::node::iroh::IrohEndpoint;
use crate::node::reload::ReloadOptions;
use crate::node::swaps::Swapper;
use crate::walls::Walls;

/// Answers the requests that reach the node over its admin socket.
pub(crate) struct AdminService {
    pub(super) swapper: Arc<Swapper>,
    pub(super) info: NodeInfo,
    ending: watch::Sender<Ending>,
}

/// What is known of a node at its start and never changes.
pub(super) struct NodeInfo {
    pub(super) since: SystemTime,
    pub(super) listen: String,
    pub(super) tcp_listen: Option<String>,
    pub(super) node_key: String,
    pub(super) iroh: Option<IrohEndpoint>,
}

/// The kind of end that a node was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// The node serves and was not asked to end.
    No,
    /// The node accepts no connections and ends when its last one has.
    Drain,
    /// The node stops as configured.
    Stop,
    /// The node stops, and live sessions end at once.
    Now,
}

impl AdminService {
    pub(crate) fn new(node: &Node) -> Self {
        Self {
            swapper: node.swapper(),
            info: NodeInfo {
                since: SystemTime::now(),
                listen: node.addr().to_string(),
                tcp_listen: node.tcp_addr().map(|addr| addr.to_string()),
                node_key: node.node_key().to_string(),
                iroh: node.iroh().cloned(),
            },
            ending: watch::Sender::new(Ending::No),
        }
    }

    /// The monitor's connection, which starts the processes of peers.
    pub(super) fn walls(&self) -> Option<Arc<Walls>> {
        self.swapper.walls.clone()
    }

    /// Follows how far the node was asked to go.
    pub(crate) fn ending(&self) -> watch::Receiver<Ending> {
        self.ending.subscribe()
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow() != Ending::No
    }

    pub(super) fn asked_to_end(&self) -> Ending {
        *self.ending.borrow()
    }

    /// The answer to a request, as a line.
    pub(super) async fn answer(service: &Arc<Self>, request: Request) -> String {
        let service = Arc::clone(service);
        // Files are read and handlers asked: that blocks.
        let answer = tokio::task::spawn_blocking(move || service.decide(request));
        answer.await.unwrap_or_else(|_| {
            refused_line(vec![FaultReport::new(
                "the request ended early; a panic is in the node's log",
            )])
        })
    }

    fn decide(&self, request: Request) -> String {
        match request {
            Request::Reload {
                dry_run,
                accept_empty,
                accept_peers,
            } => line(self.swapper.reloader().reload(ReloadOptions {
                dry_run,
                accept_empty,
                accept_peers,
            })),
            Request::Status {} => done_line(&Status::of(self)),
            Request::PluginsReload {
                name,
                force,
                confirm,
            } => {
                let wanted = crate::node::swaps::Wanted {
                    name,
                    force,
                    hold: false,
                    confirm,
                };
                line(self.swapper.reload(&wanted).map(plugins))
            }
            Request::PluginsRollback { name, confirm } => line(
                self.swapper
                    .rollback(name.as_deref(), confirm)
                    .inspect_err(|problems| problems.iter().for_each(|p| tracing::error!("{p}")))
                    .map(|swapped| plugins(vec![swapped])),
            ),
            Request::PluginsUnload { name, confirm } => line(
                self.swapper
                    .unload(&name, confirm)
                    .map(|swapped| plugins(vec![swapped])),
            ),
            Request::SessionsList {} => match self.background_jobs() {
                Ok(jobs) => done_line(&Sessions::of(&self.swapper.registry, &jobs)),
                Err(error) => refused(error.to_string()),
            },
            Request::SessionsClose { generation, id } => self.close_session(generation, id),
            Request::SessionsCloseOf { identity } => self.close_sessions_of(&identity),
            Request::Drain {} => self.end(Ending::Drain),
            Request::Stop { now: false } => self.end(Ending::Stop),
            Request::Stop { now: true } => self.end(Ending::Now),
        }
    }

    fn end(&self, ending: Ending) -> String {
        self.ending
            .send_modify(|asked| *asked = (*asked).max(ending));
        done_line(&Map::new())
    }

    /// The jobs that go on although their channel has ended.
    pub(super) fn background_jobs(&self) -> Result<Vec<Job>, LinkError> {
        match self.walls() {
            Some(walls) => walls.background_jobs(),
            None => Ok(Vec::new()),
        }
    }

    /// Ends the jobs that the filter matches, `count` of them.
    fn end_jobs(&self, filter: JobFilter, count: usize) -> Result<usize, LinkError> {
        match self.walls() {
            Some(walls) if count > 0 => walls.end_jobs(filter).map(|()| count),
            _ => Ok(0),
        }
    }

    fn close_session(&self, generation: u64, id: u64) -> String {
        let filter = JobFilter {
            session: Some((generation, id)),
            ..JobFilter::default()
        };
        let jobs = match self.background_jobs() {
            Ok(jobs) => jobs.iter().filter(|job| filter.matches(job)).count(),
            Err(error) => return refused(error.to_string()),
        };
        let live = self.swapper.registry.live();
        let session = match live.iter().find(|live| live.id == generation) {
            Some(live) => close(live, id),
            None => Err(format!("no generation {generation} is live")),
        };
        if let (Err(why), 0) = (&session, jobs) {
            return refused(format!(
                "the session {generation}.{id} was not closed: {why}; `alknet-node sessions list` shows the sessions there are"
            ));
        }
        match self.end_jobs(filter, jobs) {
            Ok(background_jobs) => done_line(&Closed {
                sessions: session.into_iter().count(),
                background_jobs,
            }),
            Err(error) => refused(error.to_string()),
        }
    }

    fn close_sessions_of(&self, identity: &str) -> String {
        let jobs = match self.background_jobs() {
            Ok(jobs) => jobs,
            Err(error) => return refused(error.to_string()),
        };
        let live = self.swapper.registry.live();
        let open = Sessions::of(&self.swapper.registry, &[]).sessions;
        let theirs = open.iter().filter(|session| {
            session.identity.as_deref() == Some(identity)
                && live
                    .iter()
                    .find(|live| live.id == session.generation)
                    .is_some_and(|live| close(live, session.id).is_ok())
        });
        let sessions = theirs.count();
        let filter = JobFilter {
            identity: Some(identity.to_owned()),
            ..JobFilter::default()
        };
        let count = jobs.iter().filter(|job| filter.matches(job)).count();
        if sessions + count == 0 {
            return refused(format!(
                "{identity:?} has no session and nothing in the background; `alknet-node sessions list` shows the sessions there are"
            ));
        }
        match self.end_jobs(filter, count) {
            Ok(background_jobs) => done_line(&Closed {
                sessions,
                background_jobs,
            }),
            Err(error) => refused(error.to_string()),
        }
    }
}

/// Has a handler end one of its sessions.
fn close(generation: &Generation, id: u64) -> Result<(), String> {
    let request = ControlRequest::CloseSession { id };
    match generation.handler.control(&request.to_json()) {
        Ok(_) => {
            tracing::info!(
                plugin = generation.plugin,
                generation = generation.id,
                session = id,
                "session closed by the operator"
            );
            Ok(())
        }
        Err(error) => Err(error.message.to_string()),
    }
}

/// What a handler answers, as JSON; `None` where it does not know the request.
pub(super) fn control(generation: &Generation, request: &ControlRequest) -> Option<Value> {
    let answer = generation.handler.control(&request.to_json()).ok()?;
    serde_json::from_str(&answer).ok()
}

fn plugins(swapped: Vec<crate::node::swaps::Swapped>) -> Value {
    json!({ "plugins": swapped })
}

fn line(done: Result<impl Serialize, Vec<NodeError>>) -> String {
    match done {
        Ok(body) => done_line(&body),
        Err(problems) => refused_line(problems.iter().map(FaultReport::from).collect()),
    }
}

fn refused(message: String) -> String {
    refused_line(vec![FaultReport::new(message)])
}
