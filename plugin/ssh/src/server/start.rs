//! What requests start: what was asked for, or the peer's forced command in
//! its place.

use alknet_ssh_policy::{Command, QUIET_ENVIRONMENT, can_start_programs};

use super::access::{Refused, Request};
use super::channel::Start;
use super::command::{Setup, Task};
use super::session::Shared;
use crate::process::{Environment, Program};

/// What a request for a command starts.
///
/// # Errors
/// When that is not granted.
pub(super) fn command(shared: &Shared, asked: &[u8], mut setup: Setup) -> Result<Start, Refused> {
    let restrictions = shared.access.restrictions()?;
    if restrictions.forces_sftp() {
        return file_transfer(shared);
    }
    let is_forced = restrictions.force_command.is_some();
    if is_forced && !asked.is_empty() {
        setup.environment.original = Some(asked.to_vec());
    }
    let (command, grant) = shared.access.exec(asked, setup.terminal.is_some())?;
    if is_forced || matches!(command, Command::Direct { .. }) {
        keep_to_the_program(shared, &mut setup.environment);
    }
    if matches!(command, Command::Direct { .. }) {
        let quiet = QUIET_ENVIRONMENT.iter();
        let quiet = quiet.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        setup.environment.requested.splice(0..0, quiet);
    }
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

/// Takes out of the environment what the peer has set to have other programs
/// started. What its identity brings, the operator has set.
fn keep_to_the_program(shared: &Shared, environment: &mut Environment) {
    let holder = shared.access.holder();
    let brought = holder.map(|holder| holder.environment).unwrap_or_default();
    environment
        .requested
        .retain(|variable| !can_start_programs(&variable.0) || brought.contains(variable));
}

fn file_transfer(shared: &Shared) -> Result<Start, Refused> {
    Ok(Start::Sftp(shared.access.grant(Request::Sftp)?))
}
