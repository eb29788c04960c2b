#![doc = include_str!("../README.md")]
// `export_plugin!` and `Setup::lent_descriptor` have the only unsafe code.
#![deny(unsafe_code)]

mod bridge;
mod config;
mod connections;
mod export;
mod extension;
mod factory;
mod handler;
mod logs;
pub mod metrics;
mod plugin;
mod secrets;
mod served;
mod setup;
mod streams;

pub use alknet_handler::{
    AuthContext, BoxFuture, BoxStream, ByteStream, Capabilities, CertificateQuery, ConfigError,
    Connection, HandlerError, Identity, IdentityAlreadySet, IdentityError, IdentityProvider,
    ProtocolHandler, StreamError,
};
pub use config::{LiveConfig, NoConfig, PluginConfig, parse_config};
pub use export::__private;
pub use extension::{Extension, ExtensionCall};
pub use handler::{Handler, Peer, Status, unknown_command};
pub use logs::LogRules;
pub use plugin::Plugin;
pub use secrets::{NoSecrets, PluginSecrets, Secret};
pub use setup::Setup;
pub use streams::each_stream;
