//! Adapters between the plain traits of `alknet-handler` and the FFI-stable
//! objects, node side.

mod connection;
mod events;
mod handler;
mod identities;
mod stream;

pub use handler::{HandlerInputs, PluginFault, PluginHandler};
