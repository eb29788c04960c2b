//! The reasons for which an attempt to log in is refused.

/// Why an attempt to authenticate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("unknown key")]
    UnknownKey,
    #[error("the key's signature is missing or wrong")]
    NoValidSignature,
    #[error("ssh-rsa signs with SHA-1; use rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    #[error("the RSA key has fewer than 2048 bits")]
    WeakRsa,
    #[error("security keys (sk-*) are not supported")]
    SecurityKey,
    #[error("certificates are switched off; see /certificates/enabled")]
    CertificatesOff,
    #[error("the key's algorithm is not supported")]
    Algorithm,
    #[error("only public keys are accepted")]
    Method,
    #[error("the key belongs to another identity than the connection")]
    OtherIdentity,
    #[error("too many keys were offered")]
    TooManyOffers,
    #[error("the identity store could not answer")]
    StoreFailed,
    #[error("the certificate is one for hosts")]
    HostCertificate,
    #[error("the certificate has expired")]
    CertificateExpired,
    #[error(
        "the certificate is not valid yet; compare the clocks of this node and of its authority"
    )]
    CertificateEarly,
    #[error("the certificate's signature is wrong")]
    CertificateSignature,
    #[error("the certificate names no principal")]
    NoPrincipal,
    #[error("no peer takes a certificate of this authority with these principals and user name")]
    UnknownCertificate,
    #[error("the certificate has a critical option that is unknown or malformed")]
    CriticalOption,
    #[error("the certificate has an extension of alknet's that is unknown or malformed")]
    CertificateExtension,
    #[error("the certificate is not for this account of the peer")]
    CertificateAccount,
    #[error("the peer's address is not one it may come from")]
    Address,
    #[error("the peer may come from some addresses only, and a relay proves none")]
    NoAddress,
    #[error("the peer is let in no more since the time in its ssh:expires")]
    Expired,
    #[error("the key, certificate or authority is revoked")]
    Revoked,
    #[error("the certificate and the peer have different forced commands")]
    TwoCommands,
    #[error("the peer has no account of that name")]
    Account,
    #[error("the identity's resources about SSH are not understood")]
    Conditions,
}

impl AuthError {
    /// Whether another key or certificate could fare better although nothing
    /// was forged: not a failed attempt, only one more offer.
    pub(crate) fn is_only_an_offer(self) -> bool {
        !matches!(self, Self::NoValidSignature | Self::Method)
    }
}
