//! From a name to a logged-in connection with a node, and staying connected.

pub(crate) mod backoff;
pub(crate) mod bridge;
pub(crate) mod connection_pool;
pub(crate) mod dial;
pub(crate) mod host_key;
pub(crate) mod identity_key;
#[cfg_attr(not(feature = "iroh"), path = "without_iroh.rs")]
pub(crate) mod iroh;
pub(crate) mod known_nodes;
pub(crate) mod link;
pub(crate) mod path_mtu;
pub(crate) mod path_recovery;
mod reach;
pub(crate) mod session;
