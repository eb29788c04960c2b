//! What stands in place of iroh in a client that is built without it.

use std::convert::Infallible;
use std::time::Duration;

use alknet_quic::NodeKey;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use crate::console::terminal::Terminal;
use crate::options::args::Settings;
use crate::options::iroh_address::IrohAddress;
use crate::options::node::Node;

/// A stream, of which there is none.
pub(crate) type IrohStream = DuplexStream;

/// A connection, of which there is none.
pub(crate) struct IrohLink(Infallible);

/// The client was built without iroh.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach {address}: this alknet was built without iroh; build it with the feature \"iroh\""
)]
pub(crate) struct IrohDialError {
    address: String,
}

impl IrohDialError {
    pub(crate) fn is_for_good(&self) -> bool {
        true
    }
}

pub(super) async fn dial(
    address: &IrohAddress,
    _node: &Node,
    _settings: &Settings,
    _terminal: Terminal,
) -> Result<IrohLink, IrohDialError> {
    Err(IrohDialError {
        address: address.to_string(),
    })
}

impl IrohLink {
    pub(crate) async fn open(&self) -> Result<IrohStream, String> {
        match self.0 {}
    }

    pub(crate) async fn halves(
        &self,
    ) -> Result<(WriteHalf<IrohStream>, ReadHalf<IrohStream>), String> {
        match self.0 {}
    }

    pub(crate) fn node_key(&self) -> NodeKey {
        match self.0 {}
    }

    pub(crate) fn handshake(&self) -> Duration {
        match self.0 {}
    }

    pub(crate) fn way(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self.0 {}
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn traffic(&self) -> (u64, u64) {
        match self.0 {}
    }

    pub(crate) fn end(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) async fn closed(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn cut(&self) {
        match self.0 {}
    }

    pub(crate) async fn close(self) {
        match self.0 {}
    }
}
