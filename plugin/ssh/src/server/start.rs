//! What requests start: what was asked for, or the peer's forced command in
//! its place.

use super::access::{Refused, Request};
use super::channel::Start;
use super::command::{Setup, Task};
use super::session::Shared;
use crate::process::Program;

/// What a request for a command starts.
///
/// # Errors
/// When that is not granted.
pub(super) fn command(shared: &Shared, asked: &[u8], mut setup: Setup) -> Result<Start, Refused> {
    let restrictions = shared.access.restrictions()?;
    if restrictions.forces_sftp() {
        return file_transfer(shared);
    }
    if restrictions.force_command.is_some() && !asked.is_empty() {
        setup.environment.original = Some(asked.to_vec());
    }
    let (command, grant) = shared.access.exec(asked)?;
    Ok(Start::Command(Task {
        program: Program::Command(command),
        setup,
        grant,
    }))
}

/// What a request for a shell starts.
///
/// # Errors
/// When that is not granted.
pub(super) fn shell(shared: &Shared, setup: Setup) -> Result<Start, Refused> {
    if shared.access.restrictions()?.force_command.is_some() {
        return command(shared, b"", setup);
    }
    Ok(Start::Command(Task {
        grant: shared.access.grant(Request::Shell)?,
        program: Program::Shell,
        setup,
    }))
}

/// What a request for the subsystem `sftp` starts.
///
/// # Errors
/// When that is not granted.
pub(super) fn sftp(shared: &Shared, setup: Setup) -> Result<Start, Refused> {
    if shared.access.restrictions()?.force_command.is_some() {
        // As OpenSSH names it to the forced command.
        return command(shared, b"internal-sftp", setup);
    }
    file_transfer(shared)
}

fn file_transfer(shared: &Shared) -> Result<Start, Refused> {
    Ok(Start::Sftp(shared.access.grant(Request::Sftp)?))
}
