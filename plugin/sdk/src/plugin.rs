//! The trait that describes a plugin: name, ALPNs, configuration, secrets and
//! handler.

use std::sync::Arc;

use alknet_handler::{ConfigError, ProtocolHandler};

use crate::{Extension, LogRules, PluginConfig, PluginSecrets, Setup, parse_config};

/// A plugin, as the node registers it. [`export_plugin!`](crate::export_plugin)
/// implements it for a [`Handler`](crate::Handler); a protocol that keeps its
/// own account of sessions implements it by hand, on a [`ProtocolHandler`], and
/// is exported by its type alone.
pub trait Plugin: 'static {
    /// The name by which the node's configuration refers to it: 1 to 64
    /// lower-case letters, digits and `-`.
    const NAME: &'static str;
    /// The plugin's own version (semver), such as `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// The ALPNs that it serves (RFC 7301 protocol ids), at least one.
    const ALPNS: &'static [&'static str];
    /// How its log records are named.
    const LOGS: LogRules;
    /// The type of its configuration.
    type Config: PluginConfig;
    /// The secrets that it can be granted.
    type Secrets: PluginSecrets;

    /// Reads a configuration from JSON text and checks it, before anything is made
    /// of it.
    ///
    /// # Errors
    /// The first value that does not fit, with its JSON pointer.
    fn parse(text: &str) -> Result<Self::Config, ConfigError> {
        parse_config(text)
    }

    /// Makes a handler, inside the runtime that its work is going to run on.
    ///
    /// # Errors
    /// Whatever would keep it from serving.
    fn create(
        setup: Setup<Self::Config, Self::Secrets>,
    ) -> Result<Arc<dyn ProtocolHandler>, ConfigError>;

    /// The number of threads that run a handler with this configuration.
    fn worker_threads(_config: &Self::Config) -> usize {
        1
    }

    /// Looks up an addition to the interface by its id.
    fn extension(_id: &str) -> Option<Extension> {
        None
    }
}
