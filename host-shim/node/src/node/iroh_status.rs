//! How a node is reached through iroh, as `status` tells it.

use serde::{Deserialize, Serialize};

/// How a node is reached through iroh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IrohStatus {
    /// The endpoint id: the node key in hexadecimal digits.
    pub(crate) endpoint_id: String,
    /// The address for clients: the id with the relay and the direct addresses that
    /// the node knows of itself.
    pub(crate) address: String,
    /// The UDP addresses.
    pub(crate) listen: Vec<String>,
    /// The relay that leads to the node, once it has chosen one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<String>,
    /// Whether it is connected to that relay.
    pub(crate) relay_connected: bool,
}
