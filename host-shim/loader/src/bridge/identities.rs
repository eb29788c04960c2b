//! The node's identity provider as the FFI-stable object that a plugin asks.

use std::future::Future;
use std::sync::Arc;

use alknet_handler::{CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_plugin_interface::abi_stable::std_types::{RResult, RString};
use alknet_plugin_interface::async_ffi::{FfiFuture, FutureExt};
use alknet_plugin_interface::{
    CertificateQuery as FfiCertificateQuery, IdentityProvider as FfiIdentityProvider,
    IdentityResult, guard, guard_future, identity_result,
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
                Ok(answer) => identity_result(answer),
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
                let certificate = CertificateQuery::from(certificate);
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
