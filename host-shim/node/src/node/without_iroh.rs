//! What stands in place of iroh in a node that is built without it.

use std::convert::Infallible;

use alknet_quic::{NodeSecret, TransportSettings};
use tokio::sync::watch;

use crate::config::IrohConfig;
use crate::node::endpoint::Routing;
use crate::node::iroh_status::IrohStatus;

/// The node was built without iroh.
#[derive(Debug, thiserror::Error)]
#[error(
    "/iroh/enabled is true, and this alknet-node was built without iroh: build it with the cargo feature \"iroh\", or set enabled = false"
)]
pub struct IrohBindError;

/// The endpoint, of which there is none.
#[derive(Clone)]
pub(crate) struct IrohEndpoint(Infallible);

impl IrohEndpoint {
    pub(crate) async fn bind(
        _config: &IrohConfig,
        _secret: &NodeSecret,
        _alpns: Vec<Vec<u8>>,
        _settings: &TransportSettings,
    ) -> Result<Self, IrohBindError> {
        Err(IrohBindError)
    }

    pub(crate) async fn accept(self, _routing: Routing, _stop: watch::Receiver<bool>) {
        match self.0 {}
    }

    pub(crate) fn set_alpns(&self, _alpns: Vec<Vec<u8>>) {
        match self.0 {}
    }

    pub(crate) fn address(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn status(&self) -> IrohStatus {
        match self.0 {}
    }

    pub(crate) async fn close(self) {
        match self.0 {}
    }
}
