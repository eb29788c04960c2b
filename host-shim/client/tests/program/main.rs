//! The real program against an endpoint in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod child;
mod connect;
mod node;
mod ssh_config;
