//! The FFI-stable interface between the node and its protocol plugins.
//!
//! A plugin is a `cdylib` that exports one root module, [`PluginModule`]. The
//! node loads it, reads the [`RegistrationBundle`] and, once the configuration
//! has passed the plugin's own JSON Schema, calls the bundle's factory with a
//! [`HandlerContext`]. The [`Handler`] that comes back is given every
//! connection that negotiates one of the plugin's ALPNs.
//!
//! # Rules of the boundary
//!
//! - The shape of everything here is frozen at [`INTERFACE_VERSION`] 1. What
//!   may grow travels as JSON text, through [`PluginModule::extension`] or
//!   through [`Handler::control`].
//! - No panic crosses: whoever implements a function of this interface wraps
//!   its body in [`guard`], its futures in [`guard_future`], and gives what can
//!   panic when dropped a `Drop` with [`guarded_drop`].
//! - Libraries are never unloaded, so wakers, futures and objects of a plugin
//!   stay valid for the life of the process.
//! - tokio, tracing, the allocator's statics and the panic hook exist once per
//!   side. No handle of theirs crosses; each side polls the other's objects
//!   from its own runtime, so no implementation may rely on the caller's.
//! - Secrets cross as [`SecretBytes`], which the receiver wipes.

#![allow(
    // abi_stable 0.11's derives expand to these.
    non_local_definitions,
    non_camel_case_types,
    // Every FFI type is `repr(C)`; the derive macros also generate items that
    // cannot carry documentation.
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks
)]

pub mod built_with;
mod connection;
#[cfg(feature = "handler")]
mod convert;
mod events;
mod guard;
mod handler;
mod identity;
pub mod layout;
mod module;
mod secret;
mod stream;
mod version;

pub use abi_stable;
pub use async_ffi;

pub use connection::{Connection, Connection_TO, ConnectionObject, RELAYED, StreamError};
#[cfg(feature = "handler")]
pub use convert::{from_identity_result, identity_result};
pub use events::{EventSink, EventSink_TO, EventSinkObject, Level};
pub use guard::{guard, guard_future, guarded_drop, panic_message};
pub use handler::{Handler, Handler_TO, HandlerContext, HandlerError, HandlerObject, PluginError};
pub use identity::{
    AuthContext, CertificateQuery, Identity, IdentityProvider, IdentityProvider_TO,
    IdentityProviderObject, IdentityResult, Resource,
};
pub use module::{Extension, PluginModule, PluginModuleRef, RegistrationBundle};
pub use secret::{NamedSecret, SecretBytes};
pub use stream::{ByteStream, ByteStream_TO, ByteStreamObject, IoFault, IoFaultKind, PollIo};
pub use version::INTERFACE_VERSION;
