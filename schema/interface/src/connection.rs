//! A connection as it crosses the boundary: streams, address, identity, close.

use abi_stable::std_types::{RBox, ROption, RResult, RStr, RString, RVec};
use abi_stable::{StableAbi, sabi_trait};
use async_ffi::FfiFuture;

use crate::{ByteStreamObject, Identity};

/// One accepted connection, on the FFI side of `alknet_handler::Connection`.
#[sabi_trait]
pub trait Connection: Send + Sync + 'static {
    /// The next stream the peer opens.
    fn accept_bi(&self) -> FfiFuture<RResult<ByteStreamObject, StreamError>>;

    /// Opens a stream towards the peer.
    fn open_bi(&self) -> FfiFuture<RResult<ByteStreamObject, StreamError>>;

    /// The negotiated ALPN.
    fn remote_alpn(&self) -> RVec<u8>;

    /// The address at which the peer has proven to receive, as `ip:port`. None
    /// while nothing has been heard from it for ten seconds. [`RELAYED`] for one
    /// that comes through a relay, which proves no address; who does not know
    /// the word takes it for no address.
    fn remote_addr(&self) -> ROption<RString>;

    /// Records who the peer was found to be. Write once: false when an
    /// identity was recorded before.
    fn set_identity(&self, identity: Identity) -> bool;

    /// Closes the connection; the peer sees `code` and `reason`.
    #[sabi(last_prefix_field)]
    fn close(&self, code: u32, reason: RStr<'_>);
}

/// What stands in place of the address of a peer that comes through a relay.
pub const RELAYED: &str = "relayed";

/// An owned [`Connection`].
pub type ConnectionObject = Connection_TO<RBox<()>>;

/// Why a stream was not available.
#[repr(u8)]
#[derive(StableAbi, Clone, Debug)]
pub enum StreamError {
    /// The connection is closed; no further stream will come.
    ConnectionClosed,
    /// This stream is closed.
    StreamClosed,
    /// The peer went silent.
    Timeout,
    /// Anything else, described for the operator.
    Internal(RString),
}
