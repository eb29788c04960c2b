//! What runs in a process of its own with a peer's rights, beside commands:
//! the node's monitor starts it, and has it enter here.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::Account;
use crate::server::sftp::{self, SftpError};

/// The exit status when the root of file transfer cannot be used.
pub(crate) const NO_ROOT: u8 = 3;

/// A request to a helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Serve file transfer.
    Sftp {
        /// The directory that the client takes for the root, an absolute path.
        root: String,
        read_only: bool,
        max_open_files: u32,
        /// Directories out of reach.
        private: Vec<PathBuf>,
    },
}

impl Request {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Does what `request` asks, a JSON text of this crate's own, over the
/// standard input and output of this process. Blocks until it is done. Returns
/// the status to exit with.
///
/// # Errors
/// When the request is not understood, or there is no standard input or output.
pub fn run_helper(request: &str) -> io::Result<u8> {
    let request: Request = serde_json::from_str(request)?;
    let Request::Sftp { max_open_files, .. } = &request;
    raise_descriptor_limit(*max_open_files);
    let own = |descriptor: io::Result<std::os::fd::OwnedFd>| descriptor.map(File::from);
    let stdin = own(io::stdin().as_fd().try_clone_to_owned())?;
    let stdout = own(io::stdout().as_fd().try_clone_to_owned())?;
    let stderr = own(io::stderr().as_fd().try_clone_to_owned())?;
    Ok(files(
        &request,
        &Account::of_environment(),
        stdin,
        stdout,
        stderr,
    ))
}

/// Makes room for so many open files, as far as the account may have them.
fn raise_descriptor_limit(files: u32) {
    /// What this process has open besides.
    const OTHERS: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(files) + OTHERS;
    let wanted = limit.maximum.map_or(wanted, |most| wanted.min(most));
    if limit.current.is_some_and(|current| current < wanted) {
        // Then the system refuses further files, and the client is told.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        );
    }
}

/// Serves file transfer; returns the status to exit with.
pub(crate) fn files(
    request: &Request,
    account: &Account,
    stdin: File,
    stdout: File,
    mut stderr: File,
) -> u8 {
    let Request::Sftp {
        root,
        read_only,
        max_open_files,
        private,
    } = request;
    let settings = sftp::Settings {
        root: root.clone(),
        read_only: *read_only,
        max_open_files: *max_open_files,
        account: account.name.as_encoded_bytes().to_vec(),
        home: account.home.as_os_str().as_encoded_bytes().to_vec(),
        private: private.clone(),
    };
    match sftp::serve(&settings, stdin, &stdout) {
        Ok(()) => 0,
        Err(error) => {
            let _ = write!(stderr, "alknet: {error}\r\n");
            match error {
                SftpError::Root(_) => NO_ROOT,
                _ => 1,
            }
        }
    }
}
