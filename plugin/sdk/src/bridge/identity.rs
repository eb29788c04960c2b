//! The node's identity provider behind the plain trait.

use alknet_handler::{BoxFuture, CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_plugin_interface::{IdentityProviderObject, from_identity_result};

/// The node's identity provider, as the plain trait.
pub(crate) struct NodeIdentities(pub(crate) IdentityProviderObject);

impl IdentityProvider for NodeIdentities {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_fingerprint(fingerprint.into());
        Box::pin(async move { from_identity_result(answer.await) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_token(token.into());
        Box::pin(async move { from_identity_result(answer.await) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_certificate(certificate.into());
        Box::pin(async move { from_identity_result(answer.await) })
    }
}
