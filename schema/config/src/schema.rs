//! The JSON Schemas of the configuration, the audit records and the secrets.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};

use crate::{AuditRecord, SshConfig};

/// JSON Schema (draft 2020-12) of [`SshConfig`].
pub fn ssh_config_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<SshConfig>().to_value()
}

/// JSON Schema (draft 2020-12) of one line of the audit file.
pub fn audit_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<AuditRecord>().to_value()
}

/// JSON Schema (draft 2020-12) of the named secrets the node may grant the
/// SSH handler: any, as the configuration chooses the names.
pub fn capabilities_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SshCapabilities",
        "description": "Named secrets the SSH handler may use for outbound connections, such as \
                        the `user:password` of the proxy in `forwarding.egress`.",
        "type": "object",
        "propertyNames": { "pattern": SECRET_NAME, "examples": ["proxy"] },
        "additionalProperties": { "type": "string" }
    })
}

/// The pattern of a secret's name.
pub(crate) const SECRET_NAME: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";

/// Variable names to values; neither can hold a NUL character.
pub(crate) fn environment_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": "string", "pattern": "^[^\\u0000]*$" }
    })
}

/// Names of subsystems (RFC 4250 section 4.6.1) to commands.
pub(crate) fn subsystems_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[!-+\\--~]{1,64}$", "examples": ["netconf"] },
        "additionalProperties": { "type": "string", "pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$" }
    })
}
