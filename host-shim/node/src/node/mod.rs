//! A running node: its listeners, handlers and metrics from their start until
//! the last connection has ended.

pub(crate) mod admission;
pub(crate) mod away;
pub(crate) mod endpoint;
pub(crate) mod identities;
#[cfg_attr(not(feature = "iroh"), path = "without_iroh.rs")]
pub(crate) mod iroh;
pub(crate) mod iroh_status;
pub mod reload;
pub(crate) mod swaps;
pub(crate) mod systemd;
pub(crate) mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alknet_document::Fault;
use alknet_handler::IdentityProvider;
use alknet_identity::PeerStore;
use alknet_loader::{Generation, Registry, shown};
use alknet_quic::{BindError, NodeKey, Server, ServerError, bind_endpoint};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::config::log_filter;
use crate::config::problem::{MakeHandlerError, Warning};
use crate::metrics::counters;
use crate::metrics::{Collector, MetricsBindError, Responder};
use crate::node::admission::Admission;
use crate::node::away::AwayPeers;
use crate::node::endpoint::Routing;
use crate::node::identities::Identities;
use crate::node::iroh::{IrohBindError, IrohEndpoint};
use crate::node::reload::{FIRST, Reloader};
use crate::node::swaps::{Listening, Swapper};
use crate::plugins::PlannedPlugin;
use crate::plugins::{TestContext, make_generation};
use crate::secrets::keys::HostKey;
use crate::startup::plan::Plan;
use crate::walls::Walls;

/// The time after the deadline of a drain that a handler may take to end the
/// rest: it says goodbye and waits for processes to end.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that a handler may take when the operator wants the end at once.
const HURRY_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that a closed endpoint waits until its peers know.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A node that serves.
pub struct Node {
    endpoint: quinn::Endpoint,
    registry: Arc<Registry>,
    addr: SocketAddr,
    node_key: NodeKey,
    peers: Arc<PeerStore>,
    warnings: Vec<Warning>,
    reloader: Arc<Reloader>,
    swapper: Arc<Swapper>,
    watching: tokio::task::JoinHandle<()>,
    stopping: Arc<watch::Sender<bool>>,
    accepting: tokio::task::JoinHandle<()>,
    probe: AcceptProbe,
    tcp: Option<TcpSide>,
    iroh: Option<IrohEndpoint>,
    metrics: Option<MetricsSide>,
}

/// The TCP part of a node that serves TCP as well.
struct TcpSide {
    addr: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

/// The metrics part of a node that serves metrics.
struct MetricsSide {
    addr: SocketAddr,
    answering: tokio::task::JoinHandle<()>,
}

impl Drop for MetricsSide {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Node {
    /// Carries out a plan: makes the handlers, binds the endpoint, accepts.
    /// Must be called inside a tokio runtime.
    ///
    /// A plugin whose factory fails is left out with a warning, like a file
    /// that was refused. Without walls no handler starts a process.
    ///
    /// # Errors
    /// When an endpoint cannot be opened.
    pub async fn start(plan: Plan, walls: Option<Arc<Walls>>) -> Result<Self, StartError> {
        let Plan {
            config,
            source,
            keys,
            peers,
            plugins,
            libraries,
            closed,
            mut warnings,
        } = plan;
        let registry = Arc::new(Registry::default());
        let filter = log_filter::parse_filter(&config.log.filter).unwrap_or_default();
        let identities = Identities::start(
            Arc::clone(&peers),
            config.lookup.as_ref(),
            closed,
            &registry,
            walls.as_ref(),
        );
        let known = peers.config();
        let tests = TestContext {
            document: &source.document,
            config: &config,
            peers: &known,
        };
        let mut failed = Vec::new();
        for planned in plugins {
            let config = planned.config.clone();
            let name = planned.plugin.name().to_owned();
            let served = serve(
                &registry,
                planned,
                &keys.host_keys,
                &identities.provider(),
                &filter,
                walls.as_deref(),
            );
            match served {
                Ok(generation) => {
                    let tested = tests.run(&*generation.handler, &name, &config);
                    failed.extend(tested.err().unwrap_or_default());
                }
                Err(refused) => match refused.fault(&source.document) {
                    Some(fault) => return Err(StartError::Config(fault)),
                    None => {
                        counters::load_failure("handler");
                        warnings.push(Warning::Handler(refused));
                    }
                },
            }
        }
        if !failed.is_empty() {
            return Err(StartError::Tests(failed));
        }
        let away = Arc::new(AwayPeers::new(
            &config.limits,
            config.transport.congestion.into(),
        ));
        let server = Arc::new(Server::new(&keys.node, away.transport())?);
        let endpoint = bind_endpoint(
            config.listen,
            server.endpoint_config(),
            server.config(&registry.alpns())?,
        )?;
        let addr = endpoint.local_addr().unwrap_or(config.listen);
        let listener = match config.tcp_listen {
            Some(addr) => Some(tcp::Listener::bind(addr, &config.tcp_alpn)?),
            None => None,
        };
        let iroh = match config.iroh.enabled {
            true => {
                let settings = away.transport();
                let bound =
                    IrohEndpoint::bind(&config.iroh, &keys.node, registry.alpns(), settings);
                Some(bound.await?)
            }
            false => None,
        };
        let hosts = &config.metrics.hosts;
        let metrics = config.metrics.listen;
        let metrics = metrics
            .map(|addr| Responder::bind(addr, hosts))
            .transpose()?;
        let metrics = metrics.map(|responder| MetricsSide {
            addr: responder.addr(),
            answering: tokio::spawn(responder.serve(Collector::new(
                Arc::clone(&registry),
                identities.lookup.clone(),
            ))),
        });
        let admission = Admission::new(config.connections.clone());
        let (stopping, stop) = watch::channel(false);
        let stopping = Arc::new(stopping);
        let tcp = listener.map(|listener| TcpSide {
            addr: listener.addr(),
            accepting: tokio::spawn(listener.accept(
                Arc::clone(&registry),
                Arc::clone(&admission),
                stop.clone(),
            )),
        });
        let (probe, probes) = mpsc::channel(1);
        let routing = Routing {
            registry: Arc::clone(&registry),
            identities: identities.provider(),
            limits: endpoint::Limits { admission, away },
        };
        if let Some(iroh) = &iroh {
            tokio::spawn(iroh.clone().accept(routing.clone(), stop.clone()));
        }
        let limits = routing.limits.clone();
        let accepting = tokio::spawn(endpoint::accept(
            endpoint.clone(),
            Arc::clone(&server),
            routing,
            stop,
            probes,
        ));
        let reloader = Arc::new(Reloader::new(
            source.file,
            keys.public(),
            source.config,
            walls.as_ref().map(|walls| walls.mode()),
            Arc::clone(&registry),
            Arc::clone(&peers),
            limits,
        ));
        let node_key = keys.node_key();
        let swapper = Arc::new(Swapper::new(
            libraries,
            Arc::clone(&registry),
            Arc::clone(&reloader),
            identities,
            keys.host_keys,
            Listening {
                endpoint: endpoint.clone(),
                server,
                iroh: iroh.clone(),
                tcp_alpn: config.tcp_listen.map(|_| config.tcp_alpn),
            },
            walls,
            &warnings,
        ));
        let (watch, upkeep) = (Arc::clone(&swapper), Arc::clone(&swapper));
        let watching = tokio::spawn(async {
            tokio::join!(swaps::watch(watch), swaps::upkeep(upkeep));
        });
        Ok(Self {
            endpoint,
            registry,
            addr,
            node_key,
            peers,
            warnings,
            reloader,
            swapper,
            watching,
            stopping,
            accepting,
            probe: AcceptProbe(probe),
            tcp,
            iroh,
            metrics,
        })
    }

    /// The address that the node serves QUIC on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address that the node serves TCP on, if it does.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|tcp| tcp.addr)
    }

    /// The endpoint by which the node is reached through iroh, if it is.
    pub(crate) fn iroh(&self) -> Option<&IrohEndpoint> {
        self.iroh.as_ref()
    }

    /// The address that the node serves its metrics on, if it does.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|metrics| metrics.addr)
    }

    /// The node's TLS key, which its clients pin.
    pub fn node_key(&self) -> NodeKey {
        self.node_key
    }

    /// The node's SSH host keys, preferred first.
    pub fn host_keys(&self) -> &[HostKey] {
        &self.swapper.host_keys
    }

    /// The node's peers.
    pub fn peers(&self) -> &PeerStore {
        &self.peers
    }

    /// The warnings of the start, which an operator should look at.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The handlers that serve.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The reloader of the node's configuration.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// The swapper of the node's plugins.
    pub(crate) fn swapper(&self) -> Arc<Swapper> {
        Arc::clone(&self.swapper)
    }

    /// The monitor's connection, which starts the processes of peers.
    pub(crate) fn walls(&self) -> Option<Arc<Walls>> {
        self.swapper.walls.clone()
    }

    /// A gate that closes the node to new connections.
    pub(crate) fn gate(&self) -> AcceptGate {
        AcceptGate {
            stopping: Arc::clone(&self.stopping),
            registry: Arc::clone(&self.registry),
        }
    }

    /// A probe that tells whether the node still accepts connections.
    pub(crate) fn probe(&self) -> AcceptProbe {
        self.probe.clone()
    }

    /// The longest that [`Node::stop`] may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        let drain = self.reloader.config().shutdown.drain_seconds;
        Duration::from_secs(drain.into()) + HANDLER_TIMEOUT + HURRY_TIMEOUT + CLOSE_TIMEOUT
    }

    /// Completes when the node no longer accepts although nobody stopped it:
    /// its socket failed.
    pub async fn failed(&mut self) {
        let _ = (&mut self.accepting).await;
    }

    /// Stops accepting, lets sessions end until the configured deadline or
    /// until `hurry` completes, closes what is left and says goodbye to the
    /// peers. Ends within bounds whatever a handler does.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.stopping.send_replace(true);
        self.reloader.stop();
        self.watching.abort();
        let drain = self.reloader.config().shutdown.drain_seconds;
        let drain = Duration::from_secs(drain.into());
        let limit = drain + HANDLER_TIMEOUT;
        let hurried = tokio::select! {
            drained = timeout(limit, Self::drained(&self.registry, drain)) => drained.is_err(),
            () = hurry => true,
        };
        if hurried
            && timeout(HURRY_TIMEOUT, Self::drained(&self.registry, Duration::ZERO))
                .await
                .is_err()
        {
            tracing::warn!("a handler did not end its sessions in time");
        }
        self.endpoint
            .close(0u32.into(), b"the node is shutting down");
        let tcp = async {
            if let Some(tcp) = self.tcp {
                let _ = tcp.accepting.await;
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, async {
            let iroh = async {
                if let Some(iroh) = self.iroh {
                    iroh.close().await;
                }
            };
            tokio::join!(self.endpoint.wait_idle(), tcp, iroh)
        })
        .await;
    }

    async fn drained(registry: &Registry, deadline: Duration) {
        let drains: Vec<_> = registry
            .live()
            .iter()
            .map(|generation| tokio::spawn(generation.handler.drain(deadline)))
            .collect();
        for drain in drains {
            // A handler that panicked has nothing left to drain.
            let _ = drain.await;
        }
    }
}

/// Tells whether a node still accepts connections.
#[derive(Clone)]
pub(crate) struct AcceptProbe(mpsc::Sender<oneshot::Sender<()>>);

impl AcceptProbe {
    /// Completes when whoever accepts the connections has answered: with true,
    /// or with false if there is nobody.
    pub(crate) async fn answers(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }

    #[cfg(test)]
    pub(crate) fn of(accepting: mpsc::Sender<oneshot::Sender<()>>) -> Self {
        Self(accepting)
    }
}

/// Closes a node to new connections.
pub(crate) struct AcceptGate {
    stopping: Arc<watch::Sender<bool>>,
    registry: Arc<Registry>,
}

impl AcceptGate {
    /// Has the node accept no connections from now on.
    pub(crate) fn close(&self) {
        self.stopping.send_replace(true);
    }

    /// Completes when the node has no connection.
    pub(crate) async fn empty(&self) {
        while let Some(busy) = self
            .registry
            .live()
            .into_iter()
            .find(|generation| generation.connections() > 0)
        {
            busy.idle().await;
        }
    }
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The TCP address cannot be bound.
    #[error("{0}")]
    TcpBind(#[from] tcp::TcpBindError),
    /// The endpoint for iroh cannot be made.
    #[error("{0}")]
    Iroh(#[from] IrohBindError),
    /// The address for the metrics cannot be bound.
    #[error("{0}")]
    Metrics(#[from] MetricsBindError),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] ServerError),
    /// A plugin found a fault in its part of the configuration.
    #[error("{0}")]
    Config(Fault),
    /// Tests of the configuration failed; at least one.
    #[error("{} of the configuration's tests failed", .0.len())]
    Tests(Vec<Fault>),
}

fn serve(
    registry: &Registry,
    planned: PlannedPlugin,
    host_keys: &[HostKey],
    identities: &Arc<dyn IdentityProvider>,
    filter: &tracing_subscriber::filter::Targets,
    walls: Option<&Walls>,
) -> Result<Arc<Generation>, MakeHandlerError> {
    let id = registry.next_id();
    let generation = make_generation(id, &planned, host_keys, identities, filter, FIRST, walls)?;
    registry
        .insert(&generation)
        .map_err(|taken| MakeHandlerError {
            file: planned.file.clone(),
            reason: taken.to_string(),
            pointer: None,
        })?;
    tracing::info!(
        plugin = planned.plugin.name(),
        version = %planned.plugin.version(),
        generation = id,
        digest = %planned.plugin.digest(),
        file = shown(&planned.file),
        "plugin serves"
    );
    Ok(generation)
}
