//! The TLS key that identifies the peer, where its identity is known.

use alknet_handler::AuthContext;

/// The key that the TLS handshake has proven, of a known identity.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The fingerprint by which the identity store knows it.
    pub(crate) fingerprint: String,
}

impl Endpoint {
    pub(crate) fn of(auth: &AuthContext) -> Option<Self> {
        auth.identity.as_ref()?;
        let fingerprint = auth.tls_client_fingerprint.clone()?;
        Some(Self { fingerprint })
    }
}
