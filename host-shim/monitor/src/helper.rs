use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

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
    let _ = (arguments, enter);
    ExitCode::FAILURE
}
