//! The look-up of a secret that the configuration names.

use alknet_handler::{Capabilities, ConfigError, Secret};

/// The secret that the configuration names at `pointer`.
///
/// # Errors
/// When the node has granted no secret with this name.
pub(super) fn granted<'a>(
    capabilities: &'a Capabilities,
    name: &str,
    pointer: &str,
) -> Result<&'a Secret, ConfigError> {
    capabilities.get(name).ok_or_else(|| ConfigError {
        pointer: pointer.to_owned(),
        message: format!(
            "the node has granted no secret {name:?}; store it with `alknet-node secret set {name}` and grant it in the node's configuration under plugins.secrets"
        ),
    })
}
