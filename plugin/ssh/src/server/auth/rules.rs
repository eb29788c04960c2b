//! The rules of log-ins in force, with the file of revoked keys read and
//! checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use alknet_handler::ConfigError;
use alknet_ssh_config::Certificates;

use super::revoked::RevokedKeys;

/// The largest list that is read, in bytes.
const MAX_LENGTH: u64 = 64 << 20;

/// The rules about log-ins of the configuration in force.
#[derive(Debug, Default)]
pub(crate) struct LoginRules {
    /// Whether certificates are looked at.
    pub(super) certificates: bool,
    pub(super) revoked: RevokedKeys,
}

impl LoginRules {
    /// Reads the files that the configuration names.
    pub(crate) fn read(config: &Certificates) -> Result<Self, ConfigError> {
        let revoked = match &config.revoked_keys {
            None => RevokedKeys::default(),
            Some(path) => revoked(Path::new(path)).map_err(|message| ConfigError {
                pointer: "/certificates/revoked_keys".to_owned(),
                message: format!("{path}: {message}"),
            })?,
        };
        Ok(Self {
            certificates: config.enabled,
            revoked,
        })
    }
}

/// Fails unless the file and the directories above it belong to root or to this
/// process's user and nobody else can change them, the rule for the node's own
/// configuration.
fn ensure_not_changed_by_others(path: &Path) -> Result<(), String> {
    let Ok(real) = path.canonicalize() else {
        // Reading it says what is wrong.
        return Ok(());
    };
    let user = rustix::process::geteuid().as_raw();
    for (depth, part) in real.ancestors().enumerate() {
        let Ok(metadata) = part.metadata() else {
            continue;
        };
        // Nobody replaces what is not theirs in a directory like /tmp.
        let is_sticky = depth > 1 && metadata.mode() & 0o1000 != 0;
        if ![0, user].contains(&metadata.uid()) {
            return Err(format!(
                "{} belongs to uid {}, who could change the list; it must belong to root or uid {user}",
                part.display(),
                metadata.uid()
            ));
        }
        if metadata.mode() & 0o022 != 0 && !is_sticky {
            return Err(format!(
                "others could change the list: {} has mode {:04o}; run: chmod go-w '{}'",
                part.display(),
                metadata.mode() & 0o7777,
                part.display()
            ));
        }
    }
    Ok(())
}

fn revoked(path: &Path) -> Result<RevokedKeys, String> {
    let cannot = |error: io::Error| {
        format!(
            "cannot be read: {error}; write a list there with `ssh-keygen -k -f`, or an empty file"
        )
    };
    let mut bytes = Vec::new();
    ensure_not_changed_by_others(path)?;
    let file = File::open(path).map_err(cannot)?;
    // A pipe would never end.
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    file.take(MAX_LENGTH + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(format!("is larger than {} MiB", MAX_LENGTH >> 20));
    }
    RevokedKeys::parse(&bytes).map_err(|error| error.to_string())
}
