//! The lines between the node and the program.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// A question of the node: one line.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Request<'a> {
    /// Whose public key is this?
    Fingerprint {
        /// The number of the question, which the answer repeats.
        id: u64,
        /// `SHA256:<base64>` of an SSH key, as `ssh-keygen -l` prints it, or
        /// `ed25519:<64 hex digits>`, a key of the TLS handshake.
        fingerprint: &'a str,
    },
    /// Whose OpenSSH certificate is this?
    Certificate {
        /// The number of the question.
        id: u64,
        /// What the node knows of it.
        certificate: &'a Certificate,
    },
    /// Whose bearer token is this?
    Token {
        /// The number of the question.
        id: u64,
        /// The token.
        token: &'a str,
    },
}

/// A certificate whose signature and dates were checked. Whether its authority is to be
/// trusted was not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub(crate) struct Certificate {
    /// Fingerprint of the authority's key, `SHA256:<base64>`.
    pub(crate) ca_fingerprint: String,
    /// The principals it names.
    pub(crate) principals: Vec<String>,
    /// Its serial number.
    pub(crate) serial: u64,
    /// Its key id.
    pub(crate) key_id: String,
    /// The user name that is asked for.
    pub(crate) user: String,
}

/// An answer of the program: one line, with `identity` or with `error`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// The number of the question.
    pub(crate) id: u64,
    /// Who it is; `null` where nobody is known.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<FoundIdentity>")]
    pub(crate) identity: Option<Value>,
    /// Why the program cannot tell now.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// An identity, as an entry of the peers file without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FoundIdentity {
    /// Its name in logs and rules; not that of a peer of the peers file.
    pub(crate) id: String,
    /// What it may do, such as `ssh:exec`.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// The Unix accounts it may use.
    #[serde(default)]
    pub(crate) accounts: Vec<String>,
    /// The parts of the file system that its confined processes reach.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    /// Whether its confined processes may use TCP.
    #[serde(default)]
    pub(crate) network: bool,
    /// Further attributes by kind; conditions such as `ssh:from`.
    #[serde(default)]
    pub(crate) resources: BTreeMap<String, Vec<String>>,
    /// The time from which it is let in no more, such as `2030-12-31T00:00:00Z`.
    #[serde(default)]
    pub(crate) expires: Option<String>,
}

/// Tells a member that is `null` from one that is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// JSON Schema (draft 2020-12) of a question, with that of its answer in `x-answer`.
pub fn lookup_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let answer = generator.subschema_for::<Answer>();
    let mut schema = generator.into_root_schema_for::<Request<'static>>();
    schema.insert("x-answer".to_owned(), json!(answer));
    schema.to_value()
}
