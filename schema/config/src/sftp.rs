//! Settings for file transfer over the `sftp` subsystem.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;
use crate::range::within;

/// File transfer by the `sftp` subsystem (`sftp`, `scp`, sshfs). Needs the
/// scope `ssh:sftp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sftp {
    /// Whether files can be transferred. Default true.
    pub enabled: bool,
    /// The directory that peers see as `/`. Nothing outside of it can be
    /// reached, by links neither: a link is followed as if this directory were
    /// the root of the file system. An absolute path. Without it, peers see
    /// what their account or their confinement lets them see; where the node
    /// has neither, those without `ssh:unconfined` are refused. Default none.
    #[schemars(regex(pattern = r"^/[^\u0000]*$"), extend("examples" = ["/srv/files"]))]
    pub root: Option<String>,
    /// Whether nothing can be written, created, removed or renamed. Default
    /// false.
    pub read_only: bool,
    /// Files and directories one sftp session may hold open at a time. 1 to
    /// 4096. Default 512.
    #[schemars(range(min = 1, max = 4096))]
    pub max_open_files: u32,
}

impl Default for Sftp {
    fn default() -> Self {
        Self {
            enabled: true,
            root: None,
            read_only: false,
            max_open_files: 512,
        }
    }
}

impl Sftp {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        if let Some(root) = &self.root
            && (!root.starts_with('/') || root.contains('\0'))
        {
            return Err(SshConfigError::at(
                "/services/sftp/root",
                format!("{root:?} is not an absolute path; write for example \"/srv/files\""),
            ));
        }
        within(
            "/services/sftp/max_open_files",
            self.max_open_files,
            1..=4096,
        )
    }
}
