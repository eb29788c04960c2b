//! The `sftp` subsystem: version 3 of the protocol
//! (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, as its clients
//! expect it.
//!
//! `frames`, `request` and `reply` are the protocol, without any I/O; `tree`
//! is the file system below a root; `answer` brings both together and blocks;
//! [`serve`] runs that over two descriptors, in a process of its own.

mod accounts;
mod answer;
mod handles;
mod longname;
mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::answer::Server;
use crate::sftp_protocol::frames::{BadLength, Frames};
use crate::sftp_protocol::reply::Replies;

/// Bytes of requests that are read at once, at most.
const READ: usize = 128 * 1024;

/// What a client gets to see.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory it takes for the root, an absolute path.
    pub(crate) root: String,
    pub(crate) read_only: bool,
    /// Told to clients that ask.
    pub(crate) max_open_files: u32,
    /// The node's user, and where relative paths begin if it is below the root.
    pub(crate) account: Vec<u8>,
    pub(crate) home: Vec<u8>,
    /// Directories out of reach.
    pub(crate) private: Vec<PathBuf>,
}

/// Why file transfer ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SftpError {
    /// The directory cannot be used as the root.
    #[error("the directory for file transfer cannot be opened: {}", io::Error::from(*.0))]
    Root(Errno),
    /// What came is not a file transfer.
    #[error(
        "a message of {0} bytes: what comes is not a file transfer (is a text printed before it?)"
    )]
    Length(u32),
    /// A message is too short to be answered.
    #[error("a message without a number")]
    NoMessage,
    /// A request came first.
    #[error("a request came before the version")]
    NoInit,
    /// The client speaks nothing that we do.
    #[error("version {0} of the protocol is not supported, only 3")]
    OldVersion(u32),
    /// The client takes no more answers.
    #[error("the client is gone")]
    Gone,
}

/// Serves a client until it has said its last. Blocks. What is held in memory
/// is bounded by the longest message.
pub(crate) fn serve(
    settings: &Settings,
    mut input: impl Read,
    mut output: &File,
) -> Result<(), SftpError> {
    let is_gone = || nobody_reads(output.as_fd());
    let mut server = Server::new(settings).map_err(SftpError::Root)?;
    let mut frames = Frames::default();
    let mut chunk = vec![0; READ];
    loop {
        while !frames.is_ready() {
            match input.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => frames.push(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(SftpError::Gone),
            }
        }
        let mut replies = Replies::default();
        let outcome = server.answer(&mut frames, &mut replies, &is_gone);
        if replies.len() > 0 {
            let written = output.write_all(&replies.into_bytes());
            written.map_err(|_| SftpError::Gone)?;
        }
        outcome?;
    }
}

/// Whether nobody is left at the other end of a pipe.
fn nobody_reads(pipe: BorrowedFd<'_>) -> bool {
    let mut pipe = [PollFd::new(&pipe, PollFlags::empty())];
    let polled = poll(&mut pipe, Some(&Timespec::default()));
    polled.is_ok()
        && pipe
            .iter()
            .any(|pipe| pipe.revents().contains(PollFlags::ERR))
}

impl From<BadLength> for SftpError {
    fn from(BadLength(length): BadLength) -> Self {
        Self::Length(length)
    }
}
