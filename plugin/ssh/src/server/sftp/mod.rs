//! The `sftp` subsystem: version 3 of the protocol
//! (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, as its clients
//! expect it.
//!
//! [`crate::sftp_protocol`] is the protocol, without any I/O; `tree` is the file
//! system below a root; `answer` brings both together and blocks; [`serve`] runs
//! that over two descriptors, in a process of its own.

mod accounts;
mod answer;
mod error;
mod handles;
mod longname;
mod settings;
mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::answer::Server;
pub(crate) use self::error::SftpError;
pub(crate) use self::settings::Settings;
use crate::sftp_protocol::frames::Frames;
use crate::sftp_protocol::reply::Replies;

/// Bytes of requests that are read at once, at most.
const READ: usize = 128 * 1024;

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
