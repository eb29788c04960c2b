//! The node's identity provider as the FFI-stable object that a plugin asks.

use std::future::Future;
use std::sync::Arc;

use alknet_handler::{CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_plugin_interface::abi_stable::std_types::{RResult, RString};
use alknet_plugin_interface::async_ffi::{FfiFuture, FutureExt};
use alknet_plugin_interface::{
    CertificateQuery as FfiCertificateQuery, Identity as FfiIdentity,
    IdentityProvider as FfiIdentityProvider, IdentityResult, Resource, guard, guard_future,
};
use tokio::runtime::Handle;

/// The node's identity provider, for a plugin to ask.
pub(super) struct PluginIdentities {
    inner: Arc<dyn IdentityProvider>,
    runtime: Handle,
}

impl PluginIdentities {
    pub(super) fn new(inner: Arc<dyn IdentityProvider>, runtime: Handle) -> Self {
        Self { inner, runtime }
    }

    /// Runs a look-up on the node's own runtime: a store may need its reactor.
    fn lookup<F>(
        &self,
        ask: impl FnOnce(Arc<dyn IdentityProvider>) -> F,
    ) -> FfiFuture<IdentityResult>
    where
        F: Future<Output = Result<Option<Identity>, IdentityError>> + Send + 'static,
    {
        let task = self.runtime.spawn(ask(Arc::clone(&self.inner)));
        let answer = async move {
            match task.await {
                Ok(Ok(identity)) => RResult::ROk(identity.map(into_ffi).into()),
                Ok(Err(error)) => RResult::RErr(error.0.into()),
                Err(error) => RResult::RErr(error.to_string().into()),
            }
        };
        guard_future(answer, |panic| RResult::RErr(panicked(panic))).into_ffi()
    }
}

impl FfiIdentityProvider for PluginIdentities {
    fn resolve_from_fingerprint(&self, fingerprint: RString) -> FfiFuture<IdentityResult> {
        guard(
            || {
                self.lookup(|identities| async move {
                    identities.resolve_from_fingerprint(&fingerprint).await
                })
            },
            refused,
        )
    }

    fn resolve_from_token(&self, token: RString) -> FfiFuture<IdentityResult> {
        guard(
            || self.lookup(|identities| async move { identities.resolve_from_token(&token).await }),
            refused,
        )
    }

    fn resolve_from_certificate(
        &self,
        certificate: FfiCertificateQuery,
    ) -> FfiFuture<IdentityResult> {
        guard(
            || {
                let certificate = CertificateQuery {
                    ca_fingerprint: certificate.ca_fingerprint.into(),
                    key_id: certificate.key_id.into(),
                    serial: certificate.serial,
                    principals: certificate.principals.into_iter().map(Into::into).collect(),
                    requested_user: certificate.requested_user.into(),
                };
                self.lookup(|identities| async move {
                    identities.resolve_from_certificate(&certificate).await
                })
            },
            refused,
        )
    }
}

fn refused(panic: &str) -> FfiFuture<IdentityResult> {
    std::future::ready(RResult::RErr(panicked(panic))).into_ffi()
}

fn panicked(message: &str) -> RString {
    format!("the node's identity provider panicked: {message}").into()
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
