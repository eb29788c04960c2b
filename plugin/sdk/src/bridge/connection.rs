//! The node's connections behind the plain trait.

use std::net::SocketAddr;

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr};
use alknet_plugin_interface::{
    AuthContext as FfiAuthContext, ByteStreamObject, ConnectionObject, RELAYED,
    StreamError as FfiStreamError,
};

use super::stream::NodeStream;

/// A connection of the node, as the plain trait.
pub(super) struct NodeConnection(pub(super) ConnectionObject);

impl Connection for NodeConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        let accepted = self.0.accept_bi();
        Box::pin(async move { into_stream(accepted.await) })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        let opened = self.0.open_bi();
        Box::pin(async move { into_stream(opened.await) })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.0.remote_alpn().into()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.remote_addr().into_option()?.parse().ok()
    }

    fn is_relayed(&self) -> bool {
        let told = self.0.remote_addr().into_option();
        told.is_some_and(|told| told.as_str() == RELAYED)
    }

    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet> {
        if self.0.set_identity(identity.into()) {
            Ok(())
        } else {
            Err(IdentityAlreadySet)
        }
    }

    fn close(&self, code: u32, reason: &str) {
        self.0.close(code, RStr::from_str(reason));
    }
}

/// What the node knew before the protocol started, as the plain type.
pub(super) fn auth_context(auth: FfiAuthContext) -> alknet_handler::AuthContext {
    alknet_handler::AuthContext {
        identity: auth.identity.into_option().map(Into::into),
        alpn: auth.alpn.into(),
        remote_addr: auth
            .remote_addr
            .into_option()
            .and_then(|addr| addr.parse().ok()),
        local_addr: local_addr(&auth.more),
        tls_client_fingerprint: auth.tls_client_fingerprint.into_option().map(Into::into),
    }
}

/// The node's own address, where `AuthContext::more` has it.
fn local_addr(more: &str) -> Option<SocketAddr> {
    let more: serde_json::Value = serde_json::from_str(more).ok()?;
    more.get("local_addr")?.as_str()?.parse().ok()
}

fn into_stream(
    outcome: RResult<ByteStreamObject, FfiStreamError>,
) -> Result<BoxStream, StreamError> {
    match outcome {
        RResult::ROk(stream) => Ok(Box::new(NodeStream(stream))),
        RResult::RErr(error) => Err(error.into()),
    }
}
