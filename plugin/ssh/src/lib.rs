//! SSH-2 (RFC 4251 to 4254) over any byte stream: a server for commands, files
//! and forwards, and the client that goes with it.
//!
//! [`SshHandler`] serves the connections an endpoint hands over; every stream
//! of a connection is an SSH connection of its own. Who a peer is comes from
//! the endpoint's `IdentityProvider`, what it may do from the configuration's
//! rules and that identity's scopes (see [`alknet_ssh_policy`]); anything not
//! granted is refused, and what is no longer granted is ended.
//!
//! [`Client`] speaks to it, or to any other SSH server, over a stream the
//! caller brings. It checks the server's host key always.
//!
//! The protocol engine is `russh`. What it leaves open is settled in
//! `connection` (the stream under it, flow control) and `server`
//! (life-time and limits).

#![forbid(unsafe_code)]

pub mod client;
mod connection;
mod server;
mod sftp_protocol;

pub use client::{
    Client, ClientError, ClientOptions, Exit, RemoteInput, RemoteOutput, RemoteProcess,
    fetch_host_key,
};
pub use connection::Signal;
pub use connection::host_key::parse_host_keys;
pub use russh::keys::{PrivateKey, PublicKey};
pub use server::{Launcher, LookUpSlot, Resolver, SshHandler, SystemResolver, run_helper};
