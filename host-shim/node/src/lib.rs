//! The node: loads protocol plugins and serves them over QUIC.
//!
//! The node knows keys, peers, QUIC and plugins; it knows no protocol. What a
//! start needs is gathered and checked in one place ([`plan`]), which `check`
//! shares with `run`; [`node`] turns a plan into a running endpoint that
//! routes each connection to the handler of its ALPN.

#![forbid(unsafe_code)]

mod accounts;
mod admin;
mod admission;
mod agent;
mod any_path;
mod authorize;
mod away;
pub mod cli;
pub mod config;
mod cut_short;
mod editors;
mod endpoint;
mod explain;
mod handed_over;
mod init;
mod keys;
mod last_logins;
mod logs;
mod metrics;
pub mod node;
mod nodes_entry;
mod owner;
mod peers_file;
pub mod plan;
mod plugins;
mod private_half;
pub mod reload;
mod replace_file;
mod secrets;
mod ssh_include;
mod stanza;
pub mod state;
mod state_rights;
mod systemd;
mod tcp;
mod trust;
mod walls;
mod wire;

pub use walls::Walls;
