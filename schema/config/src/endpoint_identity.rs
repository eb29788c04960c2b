//! Settings for the use of the client's TLS key when it logs in to SSH.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the key counts that a client shows in the QUIC handshake, before SSH
/// (`alknet connect --identity-key`). Connections over TCP have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointIdentity {
    /// Whether a client whose key in the handshake is a peer's is logged in
    /// as that peer with SSH's method `none`, so that no SSH key is needed.
    /// Default false.
    pub allow_none: bool,
    /// Whether only those are served whose key in the handshake and whose SSH
    /// key belong to the same peer: a stolen SSH key alone is then useless,
    /// and so is the TCP listener. Counts for new connections. Default false.
    pub require_bound_identity: bool,
}
