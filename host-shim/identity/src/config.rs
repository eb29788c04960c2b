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
    /// Certificate authorities whose OpenSSH user certificates are looked at.
    /// By itself an authority lets nobody in: the `certificates` of a peer do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Authority>,
    /// The peers. Nobody else is let in.
    pub peers: Vec<Peer>,
}

/// A certificate authority (CA): keys that sign user certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The authority's name, by which peers refer to it. Written like the id
    /// of a peer.
    pub id: String,
    /// The public keys it signs with, each as one line of a `.pub` file.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Keeps the entry, but takes none of its certificates.
    #[serde(default)]
    pub disabled: bool,
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
    /// Certificates by which the peer may come in, beside its keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateGrant>,
    /// What the peer may do, such as `ssh:exec` or
    /// `ssh:forward:db.internal:5432`. Nothing else is granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further attributes handlers may use, by kind. Conditions on SSH log-ins,
    /// whether by key or by certificate: `ssh:from` (addresses and networks;
    /// `!` refuses), `ssh:expires` (a time such as `2030-12-31T00:00:00Z`),
    /// `ssh:command` (run whatever is asked), `ssh:environment` (`NAME=value`),
    /// `ssh:no-pty` (`yes`). Any other kind that begins with `ssh:` is an error.
    #[serde(default)]
    pub resources: BTreeMap<String, Vec<String>>,
    /// Keeps the entry but treats the peer as unknown.
    #[serde(default)]
    pub disabled: bool,
}

/// Certificates that stand for a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateGrant {
    /// The id of the authority that signs them.
    pub authority: String,
    /// The certificate must name at least one of these principals. There must
    /// be one here: a certificate without principals stands for nobody.
    pub principals: Vec<String>,
    /// The user names that may be asked for with it (`ssh user@node`); `*` is
    /// any. If none is listed, the user name must itself be among `principals`
    /// and named by the certificate, as OpenSSH has it for
    /// `TrustedUserCAKeys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}
