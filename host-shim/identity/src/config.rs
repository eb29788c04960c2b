//! The peers configuration: its fields and the patterns of its JSON Schema.

use std::collections::BTreeMap;

use alknet_handler::Identity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a peer or an authority.
const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$";
/// The line of a `.pub` file, of about the length that its type has.
const KEY: &str = r"^\s*(ssh-ed25519 +[A-Za-z0-9+/]{68}|ecdsa-sha2-nistp(256|384|521) +[A-Za-z0-9+/]{130,}={0,2}|ssh-rsa +[A-Za-z0-9+/]{360,}={0,2})( .*)?\s*$";
/// A key of the TLS handshake.
const NODE_KEY: &str = "^ed25519:[0-9a-fA-F]{64}$";
/// What the policy can know as a scope.
const SCOPE: &str = r"^ssh:(exec(:\S+)?|(forward|listen):\S+:(\*|[0-9]{1,5}(-[0-9]{1,5})?)|streamlocal:/.*|shell|sftp|agent|unconfined|env:[A-Za-z_][A-Za-z0-9_]*)$";
/// The name of a Unix account (useradd(8)).
const ACCOUNT: &str = r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$";
/// A part of the file system.
const TREE: &str = r"^/.*:(ro|rw)$";

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
    #[schemars(regex(pattern = ID), extend("examples" = ["alice"]))]
    pub id: String,
    /// The public keys it signs with, each as one line of a `.pub` file.
    #[serde(default)]
    #[schemars(with = "Vec<KeyLine>")]
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
    #[schemars(regex(pattern = ID), extend("examples" = ["alice"]))]
    pub id: String,
    /// SSH public keys, each as one line of a `.pub` file:
    /// `ssh-ed25519 AAAA… comment`. Ed25519, ECDSA and RSA from 2048 bits.
    #[serde(default)]
    #[schemars(with = "Vec<KeyLine>")]
    pub keys: Vec<String>,
    /// Keys the peer may show in the TLS handshake, each `ed25519:` and 64 hex
    /// digits. An SSH key is not accepted there unless it is listed here too.
    #[serde(default)]
    #[schemars(with = "Vec<NodeKeyText>")]
    pub node_keys: Vec<String>,
    /// Certificates by which the peer may come in, beside its keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateGrant>,
    /// What the peer may do, such as `ssh:exec` or
    /// `ssh:forward:db.internal:5432`. Nothing else is granted.
    #[serde(default)]
    #[schemars(with = "Vec<ScopeText>")]
    pub scopes: Vec<String>,
    /// The Unix accounts its processes may run as, on a node that was started
    /// as root: `ssh deploy@node` asks for `deploy`. A node that runs as a user
    /// runs everything as its own account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<AccountName>")]
    pub accounts: Vec<String>,
    /// The parts of the file system that its processes may reach, beside what
    /// programs need to run and a home of its own: `/srv/git:rw` to change,
    /// `/srv/www:ro` to read. A peer with accounts is confined when there is
    /// one; a peer with `ssh:unconfined` never.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<TreeText>")]
    pub files: Vec<String>,
    /// Whether its confined processes may use TCP. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
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

impl Peer {
    /// What handlers are told about the peer. Its `accounts`, `files` and
    /// `network` are among the resources.
    pub fn identity(&self) -> Identity {
        let mut resources = self.resources.clone();
        let network = vec!["true".to_owned()];
        for (kind, values, given) in [
            ("accounts", &self.accounts, !self.accounts.is_empty()),
            ("files", &self.files, !self.files.is_empty()),
            ("network", &network, self.network),
        ] {
            if given {
                resources.insert(kind.to_owned(), values.clone());
            }
        }
        Identity {
            id: self.id.clone(),
            scopes: self.scopes.clone(),
            resources,
        }
    }
}

/// Certificates that stand for a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateGrant {
    /// The id of the authority that signs them.
    pub authority: String,
    /// The certificate must name at least one of these principals. There must
    /// be one here: a certificate without principals stands for nobody.
    #[schemars(length(min = 1))]
    pub principals: Vec<String>,
    /// The user names that may be asked for with it (`ssh user@node`); `*` is
    /// any. If none is listed, the user name must itself be among `principals`
    /// and named by the certificate, as OpenSSH has it for
    /// `TrustedUserCAKeys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

/// An SSH public key, as the line of a `.pub` file.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct KeyLine(
    #[schemars(regex(pattern = KEY), extend("examples" = ["ssh-ed25519 AAAA… alice@laptop"]))]
    String,
);

/// A key of the TLS handshake.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct NodeKeyText(
    #[schemars(regex(pattern = NODE_KEY), extend("examples" = ["ed25519:<64 hex digits>"]))] String,
);

/// Something a peer may do.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct ScopeText(
    #[schemars(regex(pattern = SCOPE), extend("examples" = ["ssh:exec", "ssh:forward:db.internal:5432"]))]
     String,
);

/// The name of an account.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct AccountName(#[schemars(regex(pattern = ACCOUNT), extend("examples" = ["deploy"]))] String);

/// A part of the file system.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct TreeText(
    #[schemars(regex(pattern = TREE), extend("examples" = ["/srv/git:rw", "/srv/www:ro"]))] String,
);
