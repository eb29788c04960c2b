//! A plugin that is loaded and configured, and not yet serving.

use std::path::PathBuf;
use std::sync::Arc;

use alknet_handler::Capabilities;
use alknet_loader::LoadedPlugin;
use serde_json::Value;

/// A loaded plugin and its configuration.
pub(crate) struct PlannedPlugin {
    /// The library.
    pub(crate) plugin: Arc<LoadedPlugin>,
    /// The file it was found in.
    pub(crate) file: PathBuf,
    /// The configuration, valid by the library's schema.
    pub(crate) config: Value,
    /// The secrets granted to it.
    pub(crate) capabilities: Capabilities,
}
