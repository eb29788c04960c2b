//! What the peers file decides by itself, so that nobody else is asked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use alknet_handler::{CertificateQuery, NodeKey};
use alknet_identity::{CertificateGrant, PeerStore, PeersConfig};
use alknet_openssh::AuthorizedKey;

/// The ids and keys of the peers, those that are disabled among them.
pub(crate) struct Known {
    peers: Arc<PeerStore>,
    /// Those of the configuration that was in force last.
    listed: Mutex<Option<Arc<Listed>>>,
}

struct Listed {
    config: Arc<PeersConfig>,
    ids: HashSet<String>,
    keys: HashSet<String>,
    /// By fingerprint: the id of each authority, and whether it is disabled.
    authorities: HashMap<String, (String, bool)>,
    /// What disabled peers would come in by.
    disabled: Vec<CertificateGrant>,
}

impl Known {
    pub(crate) fn new(peers: Arc<PeerStore>) -> Self {
        Self {
            peers,
            listed: Mutex::default(),
        }
    }

    /// The store of the peers.
    pub(crate) fn peers(&self) -> &PeerStore {
        &self.peers
    }

    /// Whether a peer has this id.
    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.listed().ids.contains(id)
    }

    /// Whether a key is listed for a peer or an authority.
    pub(crate) fn has_key(&self, fingerprint: &str) -> bool {
        self.listed().keys.contains(fingerprint)
    }

    /// Whether a certificate is one of a disabled authority, or names a
    /// principal of a disabled peer.
    pub(crate) fn refuses(&self, certificate: &CertificateQuery) -> bool {
        let listed = self.listed();
        let Some((authority, is_disabled)) = listed.authorities.get(&certificate.ca_fingerprint)
        else {
            return false;
        };
        let named = |grant: &CertificateGrant| {
            grant.authority == *authority
                && (grant.principals.iter()).any(|name| certificate.principals.contains(name))
        };
        *is_disabled || listed.disabled.iter().any(named)
    }

    fn listed(&self) -> Arc<Listed> {
        let config = self.peers.config();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*listed {
            Some(known) if Arc::ptr_eq(&known.config, &config) => Arc::clone(known),
            _ => Arc::clone(listed.insert(Arc::new(Listed::new(config)))),
        }
    }
}

impl Listed {
    fn new(config: Arc<PeersConfig>) -> Self {
        let fingerprint = |line: &String| {
            line.parse::<AuthorizedKey>()
                .ok()
                .map(|key| key.fingerprint)
        };
        let mut keys = HashSet::new();
        let mut authorities = HashMap::new();
        for authority in &config.authorities {
            for key in authority.keys.iter().filter_map(fingerprint) {
                let known = (authority.id.clone(), authority.disabled);
                authorities.insert(key.clone(), known);
                keys.insert(key);
            }
        }
        for peer in &config.peers {
            keys.extend(peer.keys.iter().filter_map(fingerprint));
            let node_keys = peer.node_keys.iter();
            keys.extend(node_keys.filter_map(|key| Some(key.parse::<NodeKey>().ok()?.to_string())));
        }
        let disabled = config.peers.iter().filter(|peer| peer.disabled);
        Self {
            ids: config.peers.iter().map(|peer| peer.id.clone()).collect(),
            keys,
            authorities,
            disabled: disabled
                .flat_map(|peer| peer.certificates.iter().cloned())
                .collect(),
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use alknet_identity::{Authority, Peer};

    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICTCMo7/lIsB9UxwK8FxLIfVJh+h1MgVT84GcyJ6IBL5";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAdCMo7/lIsB9UxwK8FxLIfVJh+h1MgVT84GcyJ6IBL5";

    #[test]
    fn what_is_disabled_is_known_too() {
        let fingerprint = |line: &str| line.parse::<AuthorizedKey>().unwrap().fingerprint;
        let node_key = format!("ed25519:{}", "0a".repeat(32));
        let config = |disabled| PeersConfig {
            authorities: vec![Authority {
                id: "ca".to_owned(),
                keys: vec![ONE.to_owned()],
                disabled,
            }],
            peers: vec![Peer {
                id: "gone".to_owned(),
                keys: vec![TWO.to_owned()],
                node_keys: vec![node_key.clone()],
                certificates: vec![CertificateGrant {
                    authority: "ca".to_owned(),
                    principals: vec!["gone".to_owned()],
                    users: Vec::new(),
                }],
                disabled: true,
                ..Peer::default()
            }],
            ..PeersConfig::default()
        };
        let known = Known::new(Arc::new(PeerStore::new(config(false)).unwrap()));
        assert!(known.has_id("gone") && !known.has_id("ca"));
        assert!(known.has_key(&fingerprint(ONE)) && known.has_key(&fingerprint(TWO)));
        assert!(known.has_key(&node_key) && !known.has_key("SHA256:other"));
        let query = |principal: &str, ca: &str| CertificateQuery {
            ca_fingerprint: ca.to_owned(),
            key_id: String::new(),
            serial: 1,
            principals: vec![principal.to_owned()],
            requested_user: principal.to_owned(),
        };
        let ca = fingerprint(ONE);
        assert!(known.refuses(&query("gone", &ca)));
        assert!(!known.refuses(&query("other", &ca)));
        assert!(!known.refuses(&query("gone", "SHA256:other")));
        known.peers().replace(config(true)).unwrap();
        assert!(known.refuses(&query("other", &ca)));
    }
}
