use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use alknet_handler::{BoxFuture, CertificateQuery, Identity, IdentityError, IdentityProvider};

use crate::{Peer, PeersConfig, PeersError};

/// The identity provider over a [`PeersConfig`] that can be replaced while
/// sessions use it. SSH keys resolve by `SHA256:…`, TLS keys by `ed25519:…`,
/// each only if listed as such; disabled peers are unknown. Tokens and
/// certificates are always unknown: no peer has any yet.
pub struct PeerStore {
    current: RwLock<Arc<Snapshot>>,
}

impl PeerStore {
    /// A store with these peers.
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn new(config: PeersConfig) -> Result<Self, PeersError> {
        let snapshot = Snapshot::new(config)?;
        Ok(Self {
            current: RwLock::new(Arc::new(snapshot)),
        })
    }

    /// Puts a new configuration in force, whole or not at all. Questions being
    /// answered meanwhile are answered from the old one or from the new one.
    ///
    /// # Errors
    /// All faults of the configuration; the old one then stays in force.
    pub fn replace(&self, config: PeersConfig) -> Result<(), PeersError> {
        let snapshot = Arc::new(Snapshot::new(config)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<PeersConfig> {
        self.snapshot().config.clone()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for PeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerStore({} peers)", self.config().peers.len())
    }
}

impl IdentityProvider for PeerStore {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let found = self.snapshot().by_fingerprint.get(fingerprint).cloned();
        Box::pin(async move { Ok(found.map(Arc::unwrap_or_clone)) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        _token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        _certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }
}

struct Snapshot {
    config: Arc<PeersConfig>,
    by_fingerprint: HashMap<String, Arc<Identity>>,
}

impl Snapshot {
    fn new(config: PeersConfig) -> Result<Self, PeersError> {
        let owners = config.keys_by_fingerprint()?;
        let identities: BTreeMap<usize, Arc<Identity>> = config
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.disabled)
            .map(|(index, peer)| (index, Arc::new(identity(peer))))
            .collect();
        let by_fingerprint = owners
            .into_iter()
            .filter_map(|(fingerprint, owner)| Some((fingerprint, identities.get(&owner)?.clone())))
            .collect();
        Ok(Self {
            config: Arc::new(config),
            by_fingerprint,
        })
    }
}

fn identity(peer: &Peer) -> Identity {
    Identity {
        id: peer.id.clone(),
        scopes: peer.scopes.clone(),
        resources: peer.resources.clone(),
    }
}
