//! The settings of one file transfer.

use std::path::PathBuf;

/// What a file transfer serves to its client.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory it takes for the root, an absolute path.
    pub(crate) root: String,
    pub(crate) read_only: bool,
    /// The most files and directories that may be open, which clients are told.
    pub(crate) max_open_files: u32,
    /// The node's user, and where relative paths begin if it is below the root.
    pub(crate) account: Vec<u8>,
    pub(crate) home: Vec<u8>,
    /// Directories out of reach.
    pub(crate) private: Vec<PathBuf>,
}
