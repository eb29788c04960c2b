//! What a client and a node that signs say to each other on ALPN `alknet/ca`: one
//! request and one answer a stream, each JSON text that ends with the stream.

use serde::{Deserialize, Serialize};

/// The most bytes of a message.
pub const LONGEST_MESSAGE: usize = 64 * 1024;

/// Asks for a user certificate. Who asks is known by the key of the TLS handshake;
/// what is left out is all that the identity has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignRequest {
    /// The public key to certify, as a line.
    pub public_key: String,
    /// The names to be valid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<String>>,
    /// The scopes to be limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The accounts to be limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
    /// The seconds to be valid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u64>,
}

/// The answer to a [`SignRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignAnswer {
    /// The certificate was made.
    Signed(Signed),
    /// It was not, for this reason.
    Refused {
        /// The reason, a sentence.
        reason: String,
    },
}

/// A certificate, and the authority that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The line of a `-cert.pub` file.
    pub certificate: String,
    /// The public key of the authority, as a line.
    pub authority: String,
    /// The patterns of the hosts whose certificates the authority signs, as in
    /// known_hosts(5); none where it signs none.
    #[serde(default)]
    pub hosts: Vec<String>,
}
