//! A plugin's own code in a process of a peer: the program of the node,
//! executed with a word that no user types, and two descriptors.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::{log, sys};

/// The first argument with which the node's program runs as a helper.
pub const SESSION_HELPER: &str = "session-helper";

/// The longest request, in bytes: nothing that brings one is longer.
const MAX_REQUEST: u64 = alknet_session::MAX_REQUEST as u64;

/// The status that a helper's process exits with when the helper did not run.
const NOT_RUN: u8 = 126;

/// Runs `alknet-node session-helper`: enters the helper of the library that the
/// monitor passed, with standard input and output as they are.
///
/// `arguments` are those after the word `session-helper`. `enter` loads a
/// library by its path, calls its helper with a request (JSON text) and gives
/// the status to exit with, or why the helper did not run, in one line for the
/// peer.
pub fn session_helper(
    arguments: impl Iterator<Item = OsString>,
    enter: impl FnOnce(&Path, &str) -> Result<u8, String>,
) -> ExitCode {
    let run = || {
        let (library, request) = receive(arguments).map_err(|error| error.to_string())?;
        enter(&library, &request)
    };
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(reason) => {
            log::line(reason);
            ExitCode::from(NOT_RUN)
        }
    }
}

/// The request for [`session_helper`], in a descriptor: arguments can be read
/// by every process of the system.
pub(crate) fn pass(request: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(SESSION_HELPER, MemfdFlags::CLOEXEC)?);
    file.write_all(request.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// The arguments with which the node's program becomes the helper of a library:
/// the numbers of the descriptors of the library and the request.
pub(crate) fn arguments(numbers: [RawFd; 2]) -> Vec<CString> {
    let numbers = numbers.map(|number| number.to_string());
    let words = ["alknet-node", SESSION_HELPER].map(str::to_owned);
    words
        .into_iter()
        .chain(numbers)
        .filter_map(|word| CString::new(word).ok())
        .collect()
}

fn receive(mut arguments: impl Iterator<Item = OsString>) -> io::Result<(PathBuf, String)> {
    let malformed = || io::Error::other("session-helper is started by the node alone");
    let mut number = || -> Option<RawFd> { arguments.next()?.to_str()?.parse().ok() };
    let (Some(library), Some(request)) = (number(), number()) else {
        return Err(malformed());
    };
    let request = sys::inherited(request).ok_or_else(malformed)?;
    let mut text = String::new();
    File::from(request)
        .take(MAX_REQUEST)
        .read_to_string(&mut text)?;
    // It stays open: the loader opens it by this path.
    Ok((PathBuf::from(format!("/proc/self/fd/{library}")), text))
}
