//! A checked start: `run` carries it out; `check` prints what is wrong with it.

use std::path::PathBuf;
use std::sync::Arc;

use alknet_document::Fault;
use alknet_handler::{IdentityProvider, ProtocolHandler};
use alknet_identity::PeerStore;
use alknet_loader::check_place;

use crate::config::NodeConfig;
use crate::config::draft::{Draft, Source};
use crate::config::iroh_faults;
use crate::config::log_filter::parse_filter;
use crate::config::problem::{MakeHandlerError, NodeError, Warning};
use crate::plugins::{ConfigContext, Libraries, Numbers, PlannedPlugin, gather, make_handler};
use crate::secrets::Granter;
use crate::secrets::handed_over::HandedOver;
use crate::secrets::keys::NodeKeys;
use crate::walls::{has_accounts, is_root};

/// A checked start.
pub struct Plan {
    /// The configuration, defaults filled in.
    pub config: NodeConfig,
    /// The file that the configuration came from.
    pub source: Source,
    /// The node's keys.
    pub keys: NodeKeys,
    /// The peers.
    pub peers: Arc<PeerStore>,
    /// The plugins that were loaded, each with its valid configuration.
    pub(crate) plugins: Vec<PlannedPlugin>,
    /// All libraries that were loaded.
    pub(crate) libraries: Libraries,
    /// The paths that no tree of an identity may hold or lie in.
    pub(crate) closed: Vec<PathBuf>,
    /// What an operator should look at, though the node can start.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Reads all that a configuration refers to and loads the plugins, with
    /// secrets that the monitor handed over in place of those in files, if any.
    ///
    /// # Errors
    /// Everything that is wrong, not just the first, warnings included.
    pub(crate) fn complete(
        draft: Draft,
        handed_over: Option<&HandedOver>,
    ) -> Result<Self, Vec<NodeError>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let (keys, source) = draft.keys_and_secrets(handed_over, &mut problems);
        let peers = draft.peer_store();
        let peers = peers.map_err(|faults| problems.extend(faults)).ok();
        problems.extend(lookup_faults(&draft, peers.as_ref(), handed_over.is_some()));
        let libraries = Libraries::open(&draft.staging(handed_over.is_some()));
        let libraries = libraries.map_err(|refusal| problems.push(NodeError::Staging(refusal)));
        let libraries = libraries.ok();
        let granter = Granter {
            document: draft.document(),
            source,
        };
        let context = ConfigContext {
            config: &draft.config,
            granter: &granter,
        };
        let dir = draft.plugins_dir();
        let plugins = libraries
            .as_ref()
            .map(|libraries| gather(context, dir, libraries, &mut problems, &mut warnings));
        let plugins = plugins.unwrap_or_default();
        warnings.extend(tcp_unserved(&draft, &plugins));
        let faults = iroh_faults::faults(&draft.config.iroh).into_iter();
        problems.extend(faults.map(|(pointer, fault)| {
            NodeError::Config(Fault::at(draft.document(), &pointer, fault))
        }));
        match (keys, peers, libraries) {
            (Some(keys), Some(peers), Some(libraries)) if problems.is_empty() => {
                let closed = draft.closed();
                let (config, source) = draft.into_parts();
                Ok(Self {
                    config,
                    source,
                    keys,
                    peers: Arc::new(peers),
                    plugins,
                    libraries,
                    closed,
                    warnings,
                })
            }
            _ => {
                problems.extend(warnings.into_iter().map(NodeError::Warning));
                Err(problems)
            }
        }
    }
}

impl Plan {
    /// Makes the handler of a plugin only to ask it. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// As for [`make_handler`].
    pub(crate) fn handler_to_ask(
        &self,
        planned: &PlannedPlugin,
    ) -> Result<Arc<dyn ProtocolHandler>, MakeHandlerError> {
        let filter = parse_filter(&self.config.log.filter).unwrap_or_default();
        let numbers = Numbers::default();
        let peers: Arc<dyn IdentityProvider> = self.peers.clone();
        let keys = &self.keys.host_keys;
        make_handler(planned, keys, &peers, &filter, numbers, None)
    }
}

/// What is wrong with the look-up of identities. Beside a monitor the node cannot
/// become anybody else.
fn lookup_faults(draft: &Draft, peers: Option<&PeerStore>, beside_monitor: bool) -> Vec<NodeError> {
    let Some(lookup) = &draft.config.lookup else {
        return Vec::new();
    };
    let has_accounts = peers.is_some_and(|peers| has_accounts(&draft.config, &peers.config()));
    let faults = lookup.faults(beside_monitor || (is_root() && has_accounts));
    let mut faults: Vec<_> = faults
        .into_iter()
        .map(|fault| (fault.pointer, fault.message))
        .collect();
    let program = lookup.program();
    if faults.is_empty()
        && let Err(refusal) = check_place(&program)
    {
        faults.push(("/command/0".to_owned(), refusal.to_string()));
    }
    let fault = |(pointer, message): (String, String)| {
        let pointer = format!("/lookup{pointer}");
        NodeError::Config(Fault::at(draft.document(), &pointer, message))
    };
    faults.into_iter().map(fault).collect()
}

/// A warning if no plugin serves the ALPN of TCP connections.
fn tcp_unserved(draft: &Draft, planned: &[PlannedPlugin]) -> Option<Warning> {
    let alpn = &draft.config.tcp_alpn;
    if draft.config.tcp_listen.is_none() || is_served(planned, alpn) {
        return None;
    }
    let fault = Fault::at(
        draft.document(),
        "/tcp_alpn",
        format!(
            "no plugin serves {alpn:?}, which TCP connections are for; they will be closed at once"
        ),
    );
    let served = planned.iter().flat_map(|planned| planned.plugin.alpns());
    let served: Vec<_> = served
        .map(|alpn| format!("{:?}", alpn.escape_ascii().to_string()))
        .collect();
    Some(Warning::TcpUnserved(match served.is_empty() {
        true => fault,
        false => fault.with_hint(format!("served is {}", served.join(", "))),
    }))
}

fn is_served(planned: &[PlannedPlugin], alpn: &str) -> bool {
    let mut alpns = planned.iter().flat_map(|planned| planned.plugin.alpns());
    alpns.any(|served| served == alpn.as_bytes())
}
