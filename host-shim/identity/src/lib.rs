//! Who a peer is: the peers configuration and its identity provider.
//!
//! [`PeersConfig`] lists the peers, their keys and what they may do.
//! [`PeerStore`] answers the node's and the plugins' question who a key
//! belongs to, from a configuration that can be replaced while it is in use.
//!
//! A peer has two kinds of keys, and one never stands for the other: `keys`
//! prove it in SSH (`SHA256:…`), `node_keys` in the TLS handshake
//! (`ed25519:…`). A key that is meant for both is listed under both.
//!
//! A peer may also come in by OpenSSH certificates: those of an authority that
//! is listed, with a principal that its `certificates` name.

#![forbid(unsafe_code)]

mod allowance;
mod config;
mod import;
mod scope;
mod store;
mod validate;
mod write;

pub use alknet_ssh_policy::Conditions;
pub use allowance::OptionError;
pub use config::{Authority, CertificateGrant, Peer, PeersConfig};
pub use import::{
    ImportFault, ImportProblem, ImportSettings, Imported, ImportedLine, import_authorized_keys,
};
pub use scope::{ScopeError, check_scope};
pub use store::PeerStore;
pub use validate::{PeerFault, PeerProblem, PeersError};
