use alknet_handler::AuthContext;

/// The key that the handshake below SSH showed, of somebody who is known.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// As the identity store knows it.
    pub(crate) fingerprint: String,
}

impl Endpoint {
    pub(crate) fn of(auth: &AuthContext) -> Option<Self> {
        auth.identity.as_ref()?;
        let fingerprint = auth.tls_client_fingerprint.clone()?;
        Some(Self { fingerprint })
    }
}
