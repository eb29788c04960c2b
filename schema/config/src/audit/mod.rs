//! The audit stream: how it is configured, and what its records say.

mod record;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::record::{AuditEvent, AuditRecord, AuditVerdict};
use crate::SshConfigError;
use crate::egress::{SECRET_NAME_FORM, is_secret_name};

/// A record of who did what, as lines of JSON in a file of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file, an absolute path; made with mode 0600 and only ever appended
    /// to. After a rename the next record makes a new one. None by default:
    /// nothing is recorded.
    #[schemars(regex(pattern = "^/[^\\u0000]*[^/\\u0000]$"), extend("examples" = ["/var/log/alknet/audit.jsonl"]))]
    pub file: Option<String>,
    /// What is recorded of where forwards lead. Default `off`.
    pub destinations: Destinations,
    /// For `hashed`: the name of the secret that keys the hash, as stored by
    /// `alknet-node secret set`; at least 16 bytes. None by default.
    #[schemars(regex(pattern = crate::schema::SECRET_NAME), extend("examples" = ["audit"]))]
    pub hash_key: Option<String>,
}

/// What is recorded of where forwards lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Destinations {
    /// Nothing.
    #[default]
    Off,
    /// A keyed hash: the same destination has the same one, and without the
    /// key nobody can try candidates.
    Hashed,
    /// The destination itself.
    Full,
}

impl Audit {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        if let Some(file) = &self.file
            && (!file.starts_with('/') || file.ends_with('/') || file.contains('\0'))
        {
            return Err(SshConfigError::at(
                "/audit/file",
                format!(
                    "{file:?} is not the absolute path of a file; write /var/log/…/audit.jsonl"
                ),
            ));
        }
        let fault = |message: &str| Err(SshConfigError::at("/audit/hash_key", message.to_owned()));
        match (&self.hash_key, self.destinations) {
            (Some(name), _) if !is_secret_name(name) => fault(SECRET_NAME_FORM),
            (None, Destinations::Hashed) => fault(
                "hashes need a key: store one with `alknet-node secret set audit`, grant it under \
                 plugins.secrets and name it here",
            ),
            _ => Ok(()),
        }
    }
}
