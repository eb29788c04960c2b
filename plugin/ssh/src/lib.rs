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
//! `transport` (the stream under it), `window` (flow control) and `server`
//! (life-time and limits).

#![forbid(unsafe_code)]

mod algorithms;
mod auth;
mod clear_text;
pub mod client;
mod first_channel;
mod helper;
mod host_key;
mod kexinit;
mod metrics;
mod not_connected;
mod path;
mod process;
mod queue;
mod server;
mod sftp;
mod status;
mod transport;
mod window;

pub use client::{
    Client, ClientError, ClientOptions, Exit, RemoteInput, RemoteOutput, RemoteProcess,
    fetch_host_key,
};
pub use helper::run_helper;
pub use host_key::parse_host_keys;
pub use process::{Launcher, Signal};
pub use russh::keys::{PrivateKey, PublicKey};
pub use server::{LookUpSlot, Resolver, SshHandler, SystemResolver};

/// The software version both sides announce (RFC 4253 section 4.2).
const SSH_ID: &str = concat!("SSH-2.0-alknet_", env!("CARGO_PKG_VERSION"));
