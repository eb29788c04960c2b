//! The SSH handler's configuration: what it may hold, what the values mean,
//! and the JSON Schema (draft 2020-12) that says the same to other programs.
//!
//! [`SshConfig::from_json`] is the only way in for text; it rejects unknown
//! fields and values out of range, and names the place as a JSON pointer
//! (RFC 6901). Everything has a default, so `{}` is a complete configuration.

#![forbid(unsafe_code)]

mod error;
mod limits;
mod range;
mod runtime;
mod schema;
mod services;
mod transport;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::SshConfigError;
pub use limits::Limits;
pub use runtime::Runtime;
pub use schema::{capabilities_schema, ssh_config_schema};
pub use services::{Exec, Services};
pub use transport::Transport;

/// Configuration of the SSH handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshConfig {
    /// The threads that run the handler.
    pub runtime: Runtime,
    /// Bounds on time, number and size.
    pub limits: Limits,
    /// What an authenticated peer can be offered.
    pub services: Services,
    /// Flow control and re-keying of the SSH transport.
    pub transport: Transport,
}

impl SshConfig {
    /// Reads and validates a configuration from JSON text.
    ///
    /// # Errors
    /// When the text is not JSON, holds an unknown field or a value of the
    /// wrong type or out of its range.
    pub fn from_json(text: &str) -> Result<Self, SshConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(SshConfigError::from_serde)?;
        deserializer.end().map_err(SshConfigError::trailing)?;
        refuse_arrays(text)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what types alone do not: every range the schema states.
    ///
    /// # Errors
    /// The first value found out of its range.
    pub fn validate(&self) -> Result<(), SshConfigError> {
        self.runtime.validate()?;
        self.limits.validate()?;
        self.services.validate()?;
        self.transport.validate()
    }
}

/// serde takes an array of the values for a struct; the schema does not.
fn refuse_arrays(text: &str) -> Result<(), SshConfigError> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(SshConfigError::trailing)?;
    for pointer in [
        "",
        "/runtime",
        "/limits",
        "/services",
        "/services/exec",
        "/transport",
    ] {
        if document
            .pointer(pointer)
            .is_some_and(serde_json::Value::is_array)
        {
            return Err(SshConfigError::at(
                pointer,
                "an array was found where an object is expected".to_owned(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_the_default_configuration() {
        assert_eq!(SshConfig::from_json("{}").unwrap(), SshConfig::default());
    }

    #[test]
    fn the_default_configuration_is_valid_and_survives_a_round_trip() {
        let config = SshConfig::default();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(SshConfig::from_json(&text).unwrap(), config);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let error = SshConfig::from_json(r#"{"limits":{"max_chanels":3}}"#).unwrap_err();
        assert_eq!(error.pointer, "/limits/max_chanels");
        assert!(error.message.contains("max_chanels"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let error = SshConfig::from_json(r#"{"services":{"exec":{"enabled":"yes"}}}"#).unwrap_err();
        assert_eq!(error.pointer, "/services/exec/enabled");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_place_and_the_range() {
        let error = SshConfig::from_json(r#"{"runtime":{"worker_threads":65}}"#).unwrap_err();
        assert_eq!(error.pointer, "/runtime/worker_threads");
        assert!(error.message.contains("from 1 to 64"), "{error}");
        let error = SshConfig::from_json(r#"{"limits":{"max_channels":0}}"#).unwrap_err();
        assert_eq!(error.pointer, "/limits/max_channels");
    }

    #[test]
    fn text_after_the_object_is_refused() {
        assert!(SshConfig::from_json("{} {}").is_err());
    }
}
