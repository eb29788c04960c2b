//! The plain Rust contract between an endpoint and a protocol handler.
//!
//! An endpoint accepts connections, finds out who is at the other end and
//! hands each connection to the [`ProtocolHandler`] registered for its ALPN.
//! The handler runs the protocol. Neither knows the other's transport: a
//! [`Connection`] may be QUIC with many streams, or TCP with exactly one.
//!
//! The same names exist, FFI-stable, in `alknet-plugin-interface`; the node
//! and the plugin each adapt between the two. Code on either side of the
//! boundary is written and tested against these traits alone.

#![forbid(unsafe_code)]

mod capabilities;
mod connection;
mod error;
mod identity;
mod node_key;

pub use capabilities::{Capabilities, Secret};
pub use connection::{BoxStream, ByteStream, Connection, ProtocolHandler};
pub use error::{ConfigError, HandlerError, IdentityAlreadySet, IdentityError, StreamError};
pub use futures_util::future::BoxFuture;
pub use identity::{AuthContext, CertificateQuery, Identity, IdentityProvider};
pub use node_key::{NodeKey, NodeKeyError};
