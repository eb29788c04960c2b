//! Adapters between the FFI-stable objects and the plain traits of
//! `alknet-handler`, plugin side.

mod connection;
mod handler;
mod identity;
mod stream;

pub(crate) use handler::ExportedHandler;
pub(crate) use identity::NodeIdentities;
