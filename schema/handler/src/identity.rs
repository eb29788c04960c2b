//! What is known of a peer, and the trait that turns a key, token or
//! certificate into an identity.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::{BoxFuture, IdentityError};

/// Who a peer is, and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The stable name of the identity, as written in the peers configuration.
    pub id: String,
    /// What it was granted, such as `ssh:exec` or `ssh:forward:db.internal:5432`.
    pub scopes: Vec<String>,
    /// Further attributes handlers may use, by kind.
    pub resources: BTreeMap<String, Vec<String>>,
}

/// What the endpoint knows about a connection before the protocol starts.
/// Never changes during the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthContext {
    /// The identity the endpoint resolved from the peer's TLS key, if any.
    pub identity: Option<Identity>,
    /// The negotiated ALPN, such as `alknet/ssh`.
    pub alpn: Vec<u8>,
    /// The peer's address when the connection was accepted.
    pub remote_addr: Option<SocketAddr>,
    /// The address and port of the node that the peer connected to, where the
    /// endpoint knows them.
    pub local_addr: Option<SocketAddr>,
    /// The peer's TLS key as `ed25519:<64 hex digits>`, if it presented one.
    pub tls_client_fingerprint: Option<String>,
}

/// What a handler knows of an OpenSSH certificate it has verified against
/// its certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateQuery {
    /// Fingerprint of the CA key, `SHA256:<base64>`.
    pub ca_fingerprint: String,
    /// The certificate's key id.
    pub key_id: String,
    /// The certificate's serial number.
    pub serial: u64,
    /// The principals the certificate is valid for.
    pub principals: Vec<String>,
    /// The user name the client asked to log in as.
    pub requested_user: String,
}

/// Turns what a peer proved into who it is. `Ok(None)` means unknown; an error
/// means that the store could not answer, and must be treated as a refusal.
///
/// Asynchronous because the store may live elsewhere.
pub trait IdentityProvider: Send + Sync {
    /// Resolves a public key by its fingerprint: `SHA256:<base64, unpadded>`
    /// for an SSH key (as `ssh-keygen -l` prints it), `ed25519:<hex>` for a
    /// TLS raw public key (RFC 7250).
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>>;

    /// Resolves a bearer token.
    fn resolve_from_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>>;

    /// Resolves an OpenSSH certificate whose signature and constraints the
    /// handler has already checked.
    fn resolve_from_certificate<'a>(
        &'a self,
        certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>>;
}
