//! Connections to and from a node through iroh: by its key, from behind NAT.
//!
//! [`bind`] makes an endpoint of an Ed25519 key; its endpoint id is the public
//! half, which is the node key of `alknet-quic`. [`connect`] makes a client's
//! connection. [`IrohConnection`] and [`IrohStream`] put a connection behind the
//! handler contract, as `alknet-quic` does for its own.
//!
//! iroh's QUIC stack is noq, a fork of quinn with several paths a connection.
//! The TLS backend is ring, TLS 1.3 with raw public keys (RFC 7250). No
//! application data is taken before the handshake is complete.

#![forbid(unsafe_code)]

mod connect;
mod connection;
mod endpoint;
mod key;
mod stream;
mod way;

pub use connect::{ConnectError, NodeAddress, connect};
pub use connection::IrohConnection;
pub use endpoint::{BindError, Options, bind, check_relay, node_address, relay_in_use};
pub use iroh::endpoint::{
    Connection, ConnectionError, Incoming, IncomingAddr, ReadError, RecvStream, SendStream, VarInt,
    WriteError,
};
pub use iroh::{Endpoint, EndpointId};
pub use key::{endpoint_id, node_key};
pub use stream::IrohStream;
pub use way::{Way, round_trip, way_of};
