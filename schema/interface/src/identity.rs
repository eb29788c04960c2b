//! Identities, certificates and the identity provider as they cross the
//! boundary.

use abi_stable::std_types::{RBox, ROption, RResult, RString, RVec};
use abi_stable::{StableAbi, sabi_trait};
use async_ffi::FfiFuture;

/// Who a peer is, and what it may do.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Identity {
    /// The stable name of the identity.
    pub id: RString,
    /// What it was granted.
    pub scopes: RVec<RString>,
    /// Further attributes by kind.
    pub resources: RVec<Resource>,
}

/// One kind of attribute of an [`Identity`].
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Resource {
    /// The kind.
    pub kind: RString,
    /// Its values.
    pub values: RVec<RString>,
}

/// What the endpoint knows about a connection before the protocol starts.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AuthContext {
    /// The identity resolved from the peer's TLS key.
    pub identity: ROption<Identity>,
    /// The negotiated ALPN.
    pub alpn: RVec<u8>,
    /// The peer's address as `ip:port`.
    pub remote_addr: ROption<RString>,
    /// The peer's TLS key as `ed25519:<64 hex digits>`.
    pub tls_client_fingerprint: ROption<RString>,
    /// A JSON object with whatever later versions add; `{}` at first. Known
    /// members, each absent where it is not known:
    ///
    /// - `local_addr`: the address of the node that the peer connected to, as
    ///   `ip:port`.
    pub more: RString,
}

/// What a handler knows of a certificate it has verified.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct CertificateQuery {
    /// Fingerprint of the CA key, `SHA256:<base64>`.
    pub ca_fingerprint: RString,
    /// The certificate's key id.
    pub key_id: RString,
    /// The certificate's serial number.
    pub serial: u64,
    /// The principals the certificate is valid for.
    pub principals: RVec<RString>,
    /// The user name the client asked to log in as.
    pub requested_user: RString,
}

/// The answer of an [`IdentityProvider`]: who it is, nobody known, or why the
/// store could not answer.
pub type IdentityResult = RResult<ROption<Identity>, RString>;

/// Turns what a peer proved into who it is, on the FFI side of
/// `alknet_handler::IdentityProvider`.
#[sabi_trait]
pub trait IdentityProvider: Send + Sync + 'static {
    /// Resolves a public key by its fingerprint, `SHA256:<base64>` or
    /// `ed25519:<hex>`.
    fn resolve_from_fingerprint(&self, fingerprint: RString) -> FfiFuture<IdentityResult>;

    /// Resolves a bearer token.
    fn resolve_from_token(&self, token: RString) -> FfiFuture<IdentityResult>;

    /// Resolves an OpenSSH certificate that the handler has verified.
    #[sabi(last_prefix_field)]
    fn resolve_from_certificate(&self, certificate: CertificateQuery) -> FfiFuture<IdentityResult>;
}

/// An owned [`IdentityProvider`].
pub type IdentityProviderObject = IdentityProvider_TO<RBox<()>>;
