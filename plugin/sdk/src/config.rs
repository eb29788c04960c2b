//! The configuration of a plugin as a type of the author's, and the one in
//! force.

use std::sync::{Arc, PoisonError, RwLock};

use alknet_handler::ConfigError;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The configuration of a plugin: any type that serde reads and schemars
/// describes. Have it refuse unknown members (`#[serde(deny_unknown_fields)]`) and
/// document each member: the node tells operators and editors what the schema says.
pub trait PluginConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {}

impl<T: DeserializeOwned + JsonSchema + Send + Sync + 'static> PluginConfig for T {}

/// The configuration of a plugin that cannot be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads a configuration from JSON text.
///
/// # Errors
/// The first value that does not fit, with its JSON pointer.
pub fn parse_config<C: DeserializeOwned>(text: &str) -> Result<C, ConfigError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let config = serde_path_to_error::deserialize(&mut json).map_err(|error| ConfigError {
        pointer: pointer(error.path()),
        message: error.into_inner().to_string(),
    })?;
    json.end()
        .map_err(|error| ConfigError::new(error.to_string()))?;
    Ok(config)
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Seq { index } => index.to_string(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

/// The configuration that is in force; another one takes its place when the
/// operator reloads.
#[derive(Debug)]
pub struct LiveConfig<C>(Arc<RwLock<Arc<C>>>);

impl<C> Clone for LiveConfig<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> LiveConfig<C> {
    pub(crate) fn new(config: C) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The configuration that is in force now. Later calls may give another
    /// one.
    pub fn get(&self) -> Arc<C> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config)
    }

    pub(crate) fn replace(&self, config: C) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Config {
        peers: Vec<Peer>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Peer {
        port: u16,
    }

    #[test]
    fn errors_point_at_the_member() {
        let error = |text: &str| parse_config::<Config>(text).unwrap_err().pointer;
        assert_eq!(
            error(r#"{"peers":[{"port":1},{"port":"x"}]}"#),
            "/peers/1/port"
        );
        assert_eq!(error(r#"{"peers":[]} {}"#), "");
        assert_eq!(error("not JSON"), "");
    }
}
