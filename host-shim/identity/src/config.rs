use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may connect to this node, and what each of them may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeersConfig {
    /// JSON Schema of this file, for editors; the node ignores it.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The peers. Nobody else is let in.
    pub peers: Vec<Peer>,
}

/// One peer: a person, a machine or a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The peer's name in logs and in rules. Letters, digits and `. _ - @`,
    /// starting with a letter or digit, at most 64.
    pub id: String,
    /// SSH public keys, each as one line of a `.pub` file:
    /// `ssh-ed25519 AAAA… comment`. Ed25519, ECDSA and RSA from 2048 bits.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Keys the peer may show in the TLS handshake, each `ed25519:` and 64 hex
    /// digits. An SSH key is not accepted there unless it is listed here too.
    #[serde(default)]
    pub node_keys: Vec<String>,
    /// What the peer may do, such as `ssh:exec` or
    /// `ssh:forward:db.internal:5432`. Nothing else is granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further attributes handlers may use, by kind.
    #[serde(default)]
    pub resources: BTreeMap<String, Vec<String>>,
    /// Keeps the entry but treats the peer as unknown.
    #[serde(default)]
    pub disabled: bool,
}
