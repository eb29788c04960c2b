//! The node: loads protocol plugins and serves them over QUIC.
//!
//! The node knows keys, peers, QUIC and plugins; it knows no protocol. What a
//! start needs is gathered and checked in one place ([`startup`]), which `check`
//! shares with `run`; [`node`] turns a plan into a running endpoint that
//! routes each connection to the handler of its ALPN.

#![forbid(unsafe_code)]

mod admin;
mod any_path;
pub mod cli;
pub mod config;
mod logs;
mod metrics;
pub mod node;
mod plugins;
mod secrets;
pub mod startup;
pub mod state;
mod walls;

pub use walls::Walls;
