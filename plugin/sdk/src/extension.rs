//! The extensions of a plugin: functions that the node finds by an id.

use alknet_handler::ConfigError;
pub use alknet_plugin_interface::Extension;
use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr, RString};
use alknet_plugin_interface::{PluginError, guard};

/// A function of a plugin that the node finds by an id
/// ([`Plugin::extension`](crate::Plugin::extension)). What it takes and gives is
/// JSON text, defined with the id.
pub trait ExtensionCall: 'static {
    /// Carries out a request. A panic becomes an error.
    ///
    /// # Errors
    /// When it cannot be carried out.
    fn call(request: &str) -> Result<String, ConfigError>;

    /// The function as the node gets it.
    fn extension() -> Extension
    where
        Self: Sized,
    {
        Extension {
            call: guarded::<Self>,
        }
    }
}

extern "C" fn guarded<E: ExtensionCall>(request: RStr<'_>) -> RResult<RString, PluginError> {
    guard(
        || match E::call(request.as_str()) {
            Ok(answer) => RResult::ROk(answer.into()),
            Err(error) => RResult::RErr(error.into()),
        },
        |panic| RResult::RErr(PluginError::new(format!("panicked: {panic}"))),
    )
}
