use std::collections::HashMap;
use std::fmt;

use crate::{
    AuthorizedKey, KeyError, NodeKey, NodeKeyError, Peer, PeersConfig, ScopeError, check_scope,
};

const MAX_ID: usize = 64;

impl PeersConfig {
    /// Checks everything that the types alone cannot: ids, keys, scopes, and
    /// that no id or key occurs twice. Disabled peers are checked as well.
    ///
    /// # Errors
    /// All faults there are, in the order of the file.
    pub fn validate(&self) -> Result<(), PeersError> {
        self.keys_by_fingerprint().map(drop)
    }

    /// Every key's fingerprint with the index of the peer it belongs to.
    pub(crate) fn keys_by_fingerprint(&self) -> Result<HashMap<String, usize>, PeersError> {
        let mut check = Check {
            config: self,
            ids: HashMap::new(),
            owners: HashMap::new(),
            faults: Vec::new(),
        };
        for (index, peer) in self.peers.iter().enumerate() {
            check.peer(index, peer);
        }
        if check.faults.is_empty() {
            Ok(check.owners)
        } else {
            Err(PeersError {
                faults: check.faults,
            })
        }
    }
}

struct Check<'a> {
    config: &'a PeersConfig,
    ids: HashMap<&'a str, usize>,
    owners: HashMap<String, usize>,
    faults: Vec<PeerFault>,
}

impl<'a> Check<'a> {
    fn peer(&mut self, index: usize, peer: &'a Peer) {
        self.id(index, &peer.id);
        for (at, line) in peer.keys.iter().enumerate() {
            let pointer = format!("/peers/{index}/keys/{at}");
            match line.parse::<AuthorizedKey>() {
                Ok(key) => self.own(pointer, index, key.fingerprint),
                Err(error) => self.fault(pointer, PeerProblem::Key(error)),
            }
        }
        for (at, text) in peer.node_keys.iter().enumerate() {
            let pointer = format!("/peers/{index}/node_keys/{at}");
            match text.parse::<NodeKey>() {
                Ok(key) => self.own(pointer, index, key.to_string()),
                Err(error) => self.fault(pointer, PeerProblem::NodeKey(error)),
            }
        }
        for (at, scope) in peer.scopes.iter().enumerate() {
            if let Err(error) = check_scope(scope) {
                let pointer = format!("/peers/{index}/scopes/{at}");
                self.fault(pointer, PeerProblem::Scope(error));
            }
        }
    }

    fn id(&mut self, index: usize, id: &'a str) {
        let pointer = format!("/peers/{index}/id");
        if !is_id(id) {
            self.fault(pointer, PeerProblem::Id { id: id.to_owned() });
        } else if let Some(&first) = self.ids.get(id) {
            self.fault(
                pointer,
                PeerProblem::DuplicateId {
                    id: id.to_owned(),
                    first: format!("/peers/{first}"),
                },
            );
        } else {
            self.ids.insert(id, index);
        }
    }

    fn own(&mut self, pointer: String, index: usize, fingerprint: String) {
        if let Some(&first) = self.owners.get(&fingerprint) {
            let name = |index: usize| self.config.peers.get(index).map_or("", |peer| &peer.id);
            let problem = PeerProblem::DuplicateKey {
                peer: name(index).to_owned(),
                first: name(first).to_owned(),
                fingerprint,
            };
            self.fault(pointer, problem);
        } else {
            self.owners.insert(fingerprint, index);
        }
    }

    fn fault(&mut self, pointer: String, problem: PeerProblem) {
        self.faults.push(PeerFault { pointer, problem });
    }
}

/// Narrow on purpose: no colon, so that an id cannot pass for a scope where a
/// rule names either, and nothing that could forge a line of a log.
fn is_id(id: &str) -> bool {
    id.len() <= MAX_ID
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
}

/// A peers configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersError {
    /// Every fault, in the order of the file; at least one.
    pub faults: Vec<PeerFault>,
}

impl fmt::Display for PeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PeersError {}

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct PeerFault {
    /// JSON pointer (RFC 6901) to the value, such as `/peers/0/keys/1`.
    pub pointer: String,
    /// What is wrong with it.
    pub problem: PeerProblem,
}

/// What can be wrong in a peers configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerProblem {
    /// An id is empty, too long or has characters it must not have.
    #[error(
        "{id:?} cannot be a peer's id: use letters, digits and `. _ - @`, starting with a letter \
         or digit, at most {MAX_ID}"
    )]
    Id {
        /// The id.
        id: String,
    },
    /// Two peers have the same id.
    #[error("the id `{id}` is taken by {first}; give each peer its own, or merge the two")]
    DuplicateId {
        /// The id.
        id: String,
        /// JSON pointer to the peer that has it already.
        first: String,
    },
    /// An entry of `keys` is no usable SSH public key.
    #[error("{0}")]
    Key(KeyError),
    /// An entry of `node_keys` is no TLS key.
    #[error("{0}")]
    NodeKey(NodeKeyError),
    /// A key is listed twice, so it would not say who its owner is.
    #[error(
        "the key {fingerprint} of peer `{peer}` is already listed for peer `{first}`; remove one of the two"
    )]
    DuplicateKey {
        /// The key.
        fingerprint: String,
        /// The peer whose entry is the second one.
        peer: String,
        /// The peer that has it already; may be the same.
        first: String,
    },
    /// An entry of `scopes` means nothing.
    #[error("{0}")]
    Scope(ScopeError),
}
