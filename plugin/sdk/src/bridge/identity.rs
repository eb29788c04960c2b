use alknet_handler::{BoxFuture, CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_plugin_interface::abi_stable::std_types::{ROption, RResult};
use alknet_plugin_interface::{
    CertificateQuery as FfiCertificateQuery, Identity as FfiIdentity, IdentityProviderObject,
    IdentityResult, Resource,
};

/// The node's identity provider, as the plain trait.
pub(crate) struct NodeIdentities(pub(crate) IdentityProviderObject);

impl IdentityProvider for NodeIdentities {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_fingerprint(fingerprint.into());
        Box::pin(async move { into_plain(answer.await) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_token(token.into());
        Box::pin(async move { into_plain(answer.await) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        certificate: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let answer = self.0.resolve_from_certificate(FfiCertificateQuery {
            ca_fingerprint: certificate.ca_fingerprint.as_str().into(),
            key_id: certificate.key_id.as_str().into(),
            serial: certificate.serial,
            principals: certificate
                .principals
                .iter()
                .map(|p| p.as_str().into())
                .collect(),
            requested_user: certificate.requested_user.as_str().into(),
        });
        Box::pin(async move { into_plain(answer.await) })
    }
}

fn into_plain(answer: IdentityResult) -> Result<Option<Identity>, IdentityError> {
    match answer {
        RResult::ROk(ROption::RSome(identity)) => Ok(Some(from_ffi(identity))),
        RResult::ROk(ROption::RNone) => Ok(None),
        RResult::RErr(message) => Err(IdentityError(message.into())),
    }
}

/// An identity that came across the boundary.
pub(super) fn from_ffi(identity: FfiIdentity) -> Identity {
    Identity {
        id: identity.id.into(),
        scopes: identity.scopes.into_iter().map(Into::into).collect(),
        resources: identity
            .resources
            .into_iter()
            .map(|resource| {
                let values = resource.values.into_iter().map(Into::into).collect();
                (resource.kind.into(), values)
            })
            .collect(),
    }
}

/// An identity to send across the boundary.
pub(super) fn into_ffi(identity: Identity) -> FfiIdentity {
    FfiIdentity {
        id: identity.id.into(),
        scopes: identity.scopes.into_iter().map(Into::into).collect(),
        resources: identity
            .resources
            .into_iter()
            .map(|(kind, values)| Resource {
                kind: kind.into(),
                values: values.into_iter().map(Into::into).collect(),
            })
            .collect(),
    }
}
