//! Endpoint ids as node keys, and node keys as endpoint ids.

use alknet_quic::NodeKey;
use iroh::EndpointId;

/// The node key that an endpoint id is.
pub fn node_key(id: EndpointId) -> NodeKey {
    NodeKey::from_bytes(*id.as_bytes())
}

/// The endpoint id that a node key is; `None` where the 32 bytes are not a point
/// of the curve, so that nobody can have the key.
pub fn endpoint_id(key: &NodeKey) -> Option<EndpointId> {
    EndpointId::from_bytes(key.as_bytes()).ok()
}
