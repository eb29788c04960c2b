//! What both ends of the QUIC link share: raw-key identities, transport
//! settings, endpoints.
//!
//! A node and its clients know each other by Ed25519 keys alone, carried in TLS
//! as raw public keys (RFC 7250): no certificates, no names, no authorities.
//! [`Server`] builds what a node's endpoint needs, [`connect`] makes a client's
//! connection and says in plain words why there is none. [`QuicConnection`] and
//! [`QuicStream`] put a connection behind the handler contract.
//!
//! The TLS backend is ring, TLS 1.3 only. Sessions are never resumed and 0-RTT
//! is never offered: a resumed session would skip the proof of the client's
//! key, and early data could be replayed.

#![forbid(unsafe_code)]

mod client;
mod client_socket;
mod congestion;
mod connection;
mod endpoint;
mod node_secret;
mod path_mtu;
mod peer_address;
mod presence;
mod reset;
mod server;
mod settings;
mod silence;
#[cfg(test)]
mod simulation;
mod stream;
mod stream_end;
mod tls;

pub use alknet_handler::{NodeKey, NodeKeyError};
pub use client::{Client, ConnectError, Trust, connect};
pub use congestion::{Congestion, UnknownCongestion, probe};
pub use connection::{PeerConnection, QuicConnection, negotiated_alpn, peer_key};
pub use endpoint::{BindError, ClientEndpoint, bind_client, bind_endpoint};
pub use node_secret::{NodeSecret, NodeSecretError};
pub use presence::{Away, OpenStreams, Presence};
pub use server::{Server, ServerError};
pub use settings::TransportSettings;
pub use silence::{Silence, Step, Traffic};
pub use stream::QuicStream;
pub use stream_end::StreamEnd;
