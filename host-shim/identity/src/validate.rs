//! The checks of a peers configuration that its types and its schema cannot
//! make.

use std::collections::HashMap;
use std::fmt;

use alknet_handler::{NodeKey, NodeKeyError};
use alknet_openssh::{AuthorizedKey, KeyError};
use alknet_session::{Tree, TreeError};
use alknet_ssh_policy::{ConditionError, Conditions};

use crate::{Authority, CertificateGrant, Peer, PeersConfig, ScopeError, check_scope};

const MAX_ID: usize = 64;
/// The longest name of an account in bytes, as useradd(8) has it.
const MAX_ACCOUNT: usize = 32;
/// The kinds of resources that fields of their own stand for.
const FIELDS: [&str; 3] = ["accounts", "files", "network"];

impl PeersConfig {
    /// Checks everything that the types alone cannot: ids, keys, scopes,
    /// conditions, and that no id or key occurs twice and no certificate stands
    /// for two peers by the same principal. What is disabled is checked as
    /// well.
    ///
    /// # Errors
    /// All faults there are, in the order of the file.
    pub fn validate(&self) -> Result<(), PeersError> {
        self.keys_by_fingerprint().map(drop)
    }

    /// Every key's fingerprint with whom it belongs to.
    pub(crate) fn keys_by_fingerprint(&self) -> Result<HashMap<String, Owner>, PeersError> {
        let mut check = Check {
            config: self,
            ids: HashMap::new(),
            owners: HashMap::new(),
            granted: HashMap::new(),
            faults: Vec::new(),
        };
        for (index, authority) in self.authorities.iter().enumerate() {
            check.authority(index, authority);
        }
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

/// Whom a key belongs to, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Peer(usize),
    Authority(usize),
}

struct Check<'a> {
    config: &'a PeersConfig,
    ids: HashMap<&'a str, usize>,
    owners: HashMap<String, Owner>,
    /// Authority, principal and user, and the peer they lead to.
    granted: HashMap<(&'a str, &'a str, &'a str), usize>,
    faults: Vec<PeerFault>,
}

impl<'a> Check<'a> {
    fn authority(&mut self, index: usize, authority: &'a Authority) {
        let pointer = format!("/authorities/{index}/id");
        let id = &authority.id;
        let earlier = self.config.authorities.iter().take(index);
        if !is_id(id) {
            self.fault(pointer, PeerProblem::Id { id: id.clone() });
        } else if let Some(first) = earlier.clone().position(|other| other.id == *id) {
            let first = format!("/authorities/{first}");
            let id = id.clone();
            self.fault(pointer, PeerProblem::DuplicateId { id, first });
        }
        let keys = format!("/authorities/{index}/keys");
        self.keys(&keys, &authority.keys, Owner::Authority(index));
    }

    fn keys(&mut self, pointer: &str, lines: &[String], owner: Owner) {
        for (at, line) in lines.iter().enumerate() {
            let pointer = format!("{pointer}/{at}");
            match line.parse::<AuthorizedKey>() {
                Ok(key) => self.own(pointer, owner, key.fingerprint),
                Err(error) => self.fault(pointer, PeerProblem::Key(error)),
            }
        }
    }

    fn peer(&mut self, index: usize, peer: &'a Peer) {
        self.id(index, &peer.id);
        let keys = format!("/peers/{index}/keys");
        self.keys(&keys, &peer.keys, Owner::Peer(index));
        for (at, text) in peer.node_keys.iter().enumerate() {
            let pointer = format!("/peers/{index}/node_keys/{at}");
            match text.parse::<NodeKey>() {
                Ok(key) => self.own(pointer, Owner::Peer(index), key.to_string()),
                Err(error) => self.fault(pointer, PeerProblem::NodeKey(error)),
            }
        }
        for (at, grant) in peer.certificates.iter().enumerate() {
            self.certificates(&format!("/peers/{index}/certificates/{at}"), index, grant);
        }
        for (at, scope) in peer.scopes.iter().enumerate() {
            if let Err(error) = check_scope(scope) {
                let pointer = format!("/peers/{index}/scopes/{at}");
                self.fault(pointer, PeerProblem::Scope(error));
            }
        }
        self.confinement(index, peer);
        for error in Conditions::read(&peer.resources).err().unwrap_or_default() {
            let mut pointer = format!("/peers/{index}/resources/{}", token(&error.kind));
            if let Some(at) = error.index {
                pointer.push_str(&format!("/{at}"));
            }
            self.fault(pointer, PeerProblem::Condition(error));
        }
    }

    fn confinement(&mut self, index: usize, peer: &Peer) {
        for (at, account) in peer.accounts.iter().enumerate() {
            if !is_account(account) {
                let account = account.clone();
                let pointer = format!("/peers/{index}/accounts/{at}");
                self.fault(pointer, PeerProblem::Account { account });
            }
        }
        for (at, tree) in peer.files.iter().enumerate() {
            if let Err(error) = tree.parse::<Tree>() {
                let pointer = format!("/peers/{index}/files/{at}");
                self.fault(pointer, PeerProblem::Files(error));
            }
        }
        for kind in FIELDS {
            if peer.resources.contains_key(kind) {
                let pointer = format!("/peers/{index}/resources/{kind}");
                self.fault(pointer, PeerProblem::Field { kind });
            }
        }
    }

    fn certificates(&mut self, pointer: &str, peer: usize, grant: &'a CertificateGrant) {
        let known = &self.config.authorities;
        if !known.iter().any(|known| known.id == grant.authority) {
            let known: Vec<_> = known.iter().map(|known| known.id.as_str()).collect();
            let problem = PeerProblem::UnknownAuthority {
                id: grant.authority.clone(),
                known: match known.is_empty() {
                    true => "there are none".to_owned(),
                    false => format!("there are {}", known.join(", ")),
                },
            };
            self.fault(format!("{pointer}/authority"), problem);
        }
        let principals = format!("{pointer}/principals");
        if grant.principals.is_empty() {
            self.fault(principals, PeerProblem::NoPrincipal);
            return;
        }
        for (at, principal) in grant.principals.iter().enumerate() {
            let pointer = format!("{principals}/{at}");
            if principal.is_empty() || principal.contains(['*', '?', ',']) {
                let principal = principal.clone();
                self.fault(pointer, PeerProblem::Principal { principal });
                continue;
            }
            let users = match grant.users.as_slice() {
                [] => std::slice::from_ref(principal),
                users => users,
            };
            for user in users {
                let leads_to = (grant.authority.as_str(), principal.as_str(), user.as_str());
                let first = *self.granted.entry(leads_to).or_insert(peer);
                if first != peer {
                    let first = self.config.peers.get(first).map_or("", |peer| &peer.id);
                    let problem = PeerProblem::SamePrincipal {
                        principal: principal.clone(),
                        first: first.to_owned(),
                    };
                    self.fault(pointer.clone(), problem);
                }
            }
        }
        for (at, user) in grant.users.iter().enumerate() {
            if user.is_empty() || (user != "*" && user.contains(['*', '?', ','])) {
                let problem = PeerProblem::User { user: user.clone() };
                self.fault(format!("{pointer}/users/{at}"), problem);
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

    fn own(&mut self, pointer: String, owner: Owner, fingerprint: String) {
        if let Some(&first) = self.owners.get(&fingerprint) {
            let problem = PeerProblem::DuplicateKey {
                owner: self.name(owner),
                first: self.name(first),
                fingerprint,
            };
            self.fault(pointer, problem);
        } else {
            self.owners.insert(fingerprint, owner);
        }
    }

    fn name(&self, owner: Owner) -> String {
        let (what, id) = match owner {
            Owner::Peer(index) => ("peer", self.config.peers.get(index).map(|peer| &peer.id)),
            Owner::Authority(index) => {
                let authority = self.config.authorities.get(index);
                ("authority", authority.map(|authority| &authority.id))
            }
        };
        format!("{what} `{}`", id.map_or("", String::as_str))
    }

    fn fault(&mut self, pointer: String, problem: PeerProblem) {
        self.faults.push(PeerFault { pointer, problem });
    }
}

/// Whether a text can be an id. The form is narrow on purpose: no colon, so
/// that an id cannot pass for a scope where a rule names either, and nothing
/// that could forge a line of a log.
fn is_id(id: &str) -> bool {
    id.len() <= MAX_ID
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
}

/// The name of an account, as useradd(8) takes it.
fn is_account(name: &str) -> bool {
    name.len() <= MAX_ACCOUNT
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// A reference token of a JSON pointer (RFC 6901, section 3).
fn token(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
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
    /// An entry of `keys` is not a usable SSH public key.
    #[error("{0}")]
    Key(KeyError),
    /// An entry of `node_keys` is not a TLS key.
    #[error("{0}{hint}", hint = hint(*.0))]
    NodeKey(NodeKeyError),
    /// A key is listed twice, so it would not say who its owner is.
    #[error(
        "the key {fingerprint} of {owner} is already listed for {first}; remove one of the two"
    )]
    DuplicateKey {
        /// The key.
        fingerprint: String,
        /// The peer or authority whose entry is the second one.
        owner: String,
        /// The peer or authority that has the key already; may be the same.
        first: String,
    },
    /// No authority has the id that a peer names.
    #[error("no authority has the id {id:?}; {known}: add it under `authorities`")]
    UnknownAuthority {
        /// The id.
        id: String,
        /// The ids of all authorities.
        known: String,
    },
    /// A peer takes certificates of an authority and names no principal.
    #[error(
        "no principal is listed, so no certificate would do; name the principals the certificates carry"
    )]
    NoPrincipal,
    /// A principal could not be one of a certificate's.
    #[error("{principal:?} is not a principal: it is compared letter by letter, without wildcards")]
    Principal {
        /// The text.
        principal: String,
    },
    /// A user name could not be asked for.
    #[error("{user:?} is not a user name; write the name, or \"*\" alone for any")]
    User {
        /// The text.
        user: String,
    },
    /// A certificate would stand for two peers.
    #[error(
        "certificates of this authority with the principal {principal:?} lead to peer `{first}` already; give each peer principals of its own"
    )]
    SamePrincipal {
        /// The principal.
        principal: String,
        /// The peer that has it already.
        first: String,
    },
    /// A resource that is about SSH means nothing.
    #[error("{0}")]
    Condition(ConditionError),
    /// An entry of `accounts` cannot be the name of an account.
    #[error(
        "{account:?} cannot be the name of an account: use letters, digits and `. _ -`, starting \
         with a letter, at most {MAX_ACCOUNT}"
    )]
    Account {
        /// The text.
        account: String,
    },
    /// An entry of `files` does not name a part of the file system.
    #[error("{0}")]
    Files(TreeError),
    /// A resource has the name of a field.
    #[error("write `{kind}` as a field of the peer, not among its resources")]
    Field {
        /// The field.
        kind: &'static str,
    },
    /// An entry of `scopes` means nothing.
    #[error("{0}")]
    Scope(ScopeError),
}

/// What a key without a prefix may be.
fn hint(error: NodeKeyError) -> &'static str {
    match error {
        NodeKeyError::MissingPrefix => "; an SSH key belongs under `keys`",
        _ => "",
    }
}
