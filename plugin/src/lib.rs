//! The SSH handler as a plugin: the boundary only.
//!
//! Exports the root module of `alknet-plugin-interface`, makes handlers from
//! what the node injects and adapts between the FFI-stable objects and the
//! plain traits that `alknet-ssh` is written against. SSH itself is in
//! `alknet-ssh`.

// The macro that exports the root module expands to unsafe code, as do the
// interface's derives; `sessions` takes a descriptor by its number. Nothing else
// in this crate does.
#![deny(unsafe_code)]

#[path = "../sdk/src/bridge/mod.rs"]
mod bridge;
mod factory;
mod helper;
#[path = "../sdk/src/logs.rs"]
mod logs;
mod registration;
mod sessions;
