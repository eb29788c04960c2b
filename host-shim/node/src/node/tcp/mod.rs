//! Plain TCP beside QUIC, for clients that speak nothing else: each accepted
//! connection is a [`Connection`](alknet_handler::Connection) over its single
//! stream, and goes to the same handlers.

mod connection;
mod listener;

pub(crate) use listener::{Listener, TcpBindError};
