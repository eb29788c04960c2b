//! Who is asked who a peer is: the peers file, and a program where one is
//! configured.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use alknet_control::{ControlRequest, SessionList};
use alknet_handler::IdentityProvider;
use alknet_identity::PeerStore;
use alknet_loader::Registry;
use alknet_lookup::{Lookup, LookupConfig, Surroundings};

use crate::walls::Walls;

/// The sources of identities.
#[derive(Clone)]
pub(crate) struct Identities {
    /// The peers file.
    pub(crate) peers: Arc<PeerStore>,
    /// The program that is asked about whom that does not know.
    pub(crate) lookup: Option<Lookup>,
}

impl Identities {
    /// Starts the program, where one is configured. Must be called inside a
    /// tokio runtime.
    pub(super) fn start(
        peers: Arc<PeerStore>,
        lookup: Option<&LookupConfig>,
        closed: Vec<PathBuf>,
        registry: &Arc<Registry>,
        walls: Option<&Arc<Walls>>,
    ) -> Self {
        let lookup = lookup.map(|config| {
            let (asked, told) = (Arc::clone(registry), Arc::clone(registry));
            let walls = walls.cloned();
            let surroundings = Surroundings {
                closed,
                in_use: Box::new(move || in_use(&asked, walls.as_deref())),
                changed: Box::new(move || identities_changed(&told)),
            };
            Lookup::start(config.clone(), Arc::clone(&peers), surroundings)
        });
        Self { peers, lookup }
    }

    /// Whom handlers and the endpoint ask.
    pub(crate) fn provider(&self) -> Arc<dyn IdentityProvider> {
        match &self.lookup {
            Some(lookup) => Arc::new(lookup.clone()),
            None => self.peers.clone(),
        }
    }
}

/// The ids of those who have a session, or something in the background.
fn in_use(registry: &Registry, walls: Option<&Walls>) -> HashSet<String> {
    let request = ControlRequest::Sessions {}.to_json();
    let mut ids = HashSet::new();
    for generation in registry.live() {
        // A handler without sessions knows no such request.
        let Ok(answer) = generation.handler.control(&request) else {
            continue;
        };
        let list: SessionList = serde_json::from_str(&answer).unwrap_or_default();
        ids.extend(
            list.sessions
                .into_iter()
                .filter_map(|session| session.identity),
        );
    }
    let jobs = walls.and_then(|walls| walls.background_jobs().ok());
    ids.extend(jobs.into_iter().flatten().map(|job| job.identity));
    ids
}

/// Has live sessions look up again who their peers are.
fn identities_changed(registry: &Registry) {
    let request = ControlRequest::IdentitiesChanged {}.to_json();
    for generation in registry.live() {
        if let Err(error) = generation.handler.control(&request) {
            tracing::warn!(
                plugin = generation.plugin,
                generation = generation.id,
                %error,
                "live connections keep the rights they had"
            );
        }
    }
}
