//! The authority of a state directory: its key, its records, what it is called.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use alknet_certificate::{Authority, Records};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::cli::{Failed, StateArg, dir, fail, fail_all, peers};
use crate::config::draft::Draft;
use crate::config::problem::NodeError;
use crate::config::settings::{Setting, SettingsError, set};
use crate::state::StateDir;
use crate::state::replace_file;

/// The settings of the SSH plugin about certificates.
pub(super) const ENABLED: &[&str] = &["plugins", "config", "ssh", "certificates", "enabled"];
pub(super) const REVOKED_KEYS: &[&str] =
    &["plugins", "config", "ssh", "certificates", "revoked_keys"];

/// The file that says what the authority is called.
const ABOUT: &str = "authority.json";

/// What an authority is called, and whose host certificates it signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// Its name in peers files and in comments.
    pub(super) name: String,
    /// The patterns of hosts that clients believe it about (known_hosts(5)).
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

/// The authority of a state directory.
pub(super) struct OpenAuthority {
    pub(super) state: StateDir,
    pub(super) draft: Draft,
    pub(super) directory: PathBuf,
    pub(super) authority: Authority,
    pub(super) records: Records,
    pub(super) about: About,
}

impl OpenAuthority {
    /// The authority that `ca init` made.
    pub(super) fn open(state: StateArg) -> Result<Self, Failed> {
        let state = dir(state)?;
        let file = state.authority_directory().join(ABOUT);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fail(format_args!(
                    "this node is not a certificate authority; make it one with `alknet-node ca init --state '{}'`",
                    state.root().display()
                )));
            }
            Err(error) => return Err(fail(format_args!("{}: {error}", file.display()))),
        };
        let about = serde_json::from_str(&text)
            .map_err(|error| fail(format_args!("{}: {error}", file.display())))?;
        Self::with(state, about)
    }

    /// Makes the authority's directory, or finds it made.
    pub(super) fn make(state: StateArg, change: impl FnOnce(&mut About)) -> Result<Self, Failed> {
        let state = dir(state)?;
        // Whatever is wrong with the node is found before anything is written.
        peers::draft(&state)?;
        let directory = state.authority_directory();
        make_directory(&state, &directory)
            .map_err(|error| fail(format_args!("{}: {error}", directory.display())))?;
        let file = directory.join(ABOUT);
        let mut about = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| fail(format_args!("{}: {error}", file.display())))?,
            Err(_) => About {
                name: "ca".to_owned(),
                hosts: Vec::new(),
            },
        };
        change(&mut about);
        let text = serde_json::to_string_pretty(&about).map_err(fail)?;
        replace_file::put(&file, 0o644, format!("{text}\n").as_bytes())
            .map_err(|error| fail(format_args!("{}: {error}", file.display())))?;
        Self::with(state, about)
    }

    fn with(state: StateDir, about: About) -> Result<Self, Failed> {
        let draft = peers::draft(&state)?;
        let key = draft
            .certificate_authority()
            .map_err(|problems| fail_all(&problems))?;
        let directory = state.authority_directory();
        Ok(Self {
            authority: Authority::from_openssh(key.private().as_bytes()).map_err(fail)?,
            records: Records::new(&directory),
            state,
            draft,
            directory,
            about,
        })
    }

    /// The public key as a line, with the authority's name as its comment.
    pub(super) fn public_line(&self) -> String {
        format!("{} {}", self.authority.public_line(), self.about.name)
    }

    /// The line of known_hosts(5) by which clients believe its host certificates;
    /// `None` where it is said of no hosts.
    pub(super) fn known_hosts_line(&self) -> Option<String> {
        let hosts = self.about.hosts.join(",");
        let line = || format!("@cert-authority {hosts} {}", self.public_line());
        (!hosts.is_empty()).then(line)
    }
}

/// Makes the directory as that of the account that the node runs as: a node that
/// signs writes to it.
fn make_directory(state: &StateDir, directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if geteuid().is_root() {
        let run = fs::metadata(state.run_directory());
        let owner = run.or_else(|_| fs::metadata(state.root()))?;
        chown(directory, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Sets values in the node's configuration; gives whether that changed it.
pub(super) fn set_config(state: &StateDir, settings: &[Setting<'_>]) -> Result<bool, Failed> {
    let file = state.config_file();
    set(&file, settings).map_err(|error| match error {
        SettingsError::Invalid(faults) => {
            let problems: Vec<_> = faults.into_iter().map(NodeError::Config).collect();
            fail_all(&problems);
            fail(format_args!("{} stays as it was", file.display()))
        }
        error => fail(error),
    })
}
