//! The identity provider that answers from a peers configuration, which can be
//! replaced while in use.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use alknet_handler::{BoxFuture, CertificateQuery, Identity, IdentityError, IdentityProvider};

use crate::validate::Owner;
use crate::{CertificateGrant, PeersConfig, PeersError};

/// The identity provider over a [`PeersConfig`] that can be replaced while
/// sessions use it. SSH keys resolve by `SHA256:…`, TLS keys by `ed25519:…`,
/// each only if listed as such; a certificate resolves to the one peer that
/// takes it. Disabled peers and those of disabled authorities are unknown.
/// Tokens are always unknown: no peer has any yet.
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
        certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let found = self.snapshot().by_certificate(certificate);
        Box::pin(async move { Ok(found?.map(Arc::unwrap_or_clone)) })
    }
}

struct Snapshot {
    config: Arc<PeersConfig>,
    by_fingerprint: HashMap<String, Arc<Identity>>,
    /// The ids of the authorities, by their keys.
    authorities: HashMap<String, String>,
    /// What the peers take from each authority, by its id.
    grants: HashMap<String, Vec<(CertificateGrant, Arc<Identity>)>>,
}

impl Snapshot {
    fn new(config: PeersConfig) -> Result<Self, PeersError> {
        let owners = config.keys_by_fingerprint()?;
        let identities: BTreeMap<usize, Arc<Identity>> = config
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.disabled)
            .map(|(index, peer)| (index, Arc::new(peer.identity())))
            .collect();
        let mut by_fingerprint = HashMap::new();
        let mut authorities = HashMap::new();
        for (fingerprint, owner) in owners {
            match owner {
                Owner::Peer(index) => {
                    let identity = identities.get(&index).cloned();
                    by_fingerprint.extend(identity.map(|identity| (fingerprint, identity)));
                }
                Owner::Authority(index) => {
                    let authority = config.authorities.get(index);
                    let authority = authority.filter(|authority| !authority.disabled);
                    authorities.extend(authority.map(|known| (fingerprint, known.id.clone())));
                }
            }
        }
        let mut grants: HashMap<String, Vec<_>> = HashMap::new();
        for (index, identity) in &identities {
            let peer = config.peers.get(*index);
            for grant in peer.iter().flat_map(|peer| &peer.certificates) {
                let of_authority = grants.entry(grant.authority.clone()).or_default();
                of_authority.push((grant.clone(), identity.clone()));
            }
        }
        Ok(Self {
            config: Arc::new(config),
            by_fingerprint,
            authorities,
            grants,
        })
    }

    fn by_certificate(
        &self,
        certificate: &CertificateQuery,
    ) -> Result<Option<Arc<Identity>>, IdentityError> {
        let authority = self.authorities.get(&certificate.ca_fingerprint);
        let grants = authority.and_then(|authority| self.grants.get(authority));
        let mut found: Option<&Arc<Identity>> = None;
        for (grant, identity) in grants.into_iter().flatten() {
            if !takes(grant, certificate) {
                continue;
            }
            match found {
                Some(first) if first.id != identity.id => {
                    return Err(IdentityError(format!(
                        "the principals of a certificate lead to two peers, {} and {}, for the \
                         user name {:?}; have their `users` tell them apart",
                        first.id, identity.id, certificate.requested_user
                    )));
                }
                _ => found = Some(identity),
            }
        }
        Ok(found.cloned())
    }
}

fn takes(grant: &CertificateGrant, certificate: &CertificateQuery) -> bool {
    let user = &certificate.requested_user;
    let names = grant.principals.iter();
    let mut common = names.filter(|name| certificate.principals.contains(name));
    if grant.users.is_empty() {
        common.any(|principal| principal == user)
    } else {
        common.next().is_some() && grant.users.iter().any(|name| name == "*" || name == user)
    }
}
