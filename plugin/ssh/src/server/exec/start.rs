//! What requests start: what was asked for, or the peer's forced command in
//! its place.

use alknet_ssh_policy::{Command, QUIET_ENVIRONMENT, can_start_programs};

use super::channel::Start;
use super::command::{Setup, Task};
use crate::server::process::{Environment, Program, helper};
use crate::server::session::context::SessionContext;
use crate::server::session::peer;
use crate::server::state::access::{AccessError, Grant, Request};

/// Decides what a request for a command starts.
///
/// # Errors
/// When that is not granted.
pub(crate) fn command(
    shared: &SessionContext,
    asked: &[u8],
    mut setup: Setup,
) -> Result<Start, AccessError> {
    let restrictions = shared.access.restrictions()?;
    if restrictions.forces_sftp() {
        return file_transfer(shared, setup);
    }
    let is_forced = restrictions.force_command.is_some();
    if is_forced && !asked.is_empty() {
        setup.environment.original = Some(asked.to_vec());
    }
    let (command, grant) = shared.access.exec(asked, setup.terminal.is_some())?;
    if !is_forced && is_of_ssh_copy_id(asked) {
        return Err(AccessError::CopiesKey);
    }
    if is_forced || matches!(command, Command::Direct { .. }) {
        keep_to_the_program(shared, &mut setup.environment);
    }
    if matches!(command, Command::Direct { .. }) {
        let quiet = QUIET_ENVIRONMENT.iter();
        let quiet = quiet.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        setup.environment.requested.splice(0..0, quiet);
    }
    task(shared, Program::Command(command), setup, grant)
}

/// Whether a command is the one by which `ssh-copy-id` adds keys to
/// `~/.ssh/authorized_keys` (OpenSSH's contrib/ssh-copy-id, `installkeys_sh`).
/// Run, it would say that a key was added, which would let nobody in.
fn is_of_ssh_copy_id(asked: &[u8]) -> bool {
    let has = |words: &[u8]| asked.windows(words.len()).any(|part| part == words);
    asked.starts_with(b"exec sh -c 'cd")
        && has(b"umask 077")
        && has(b"cat >> ")
        && has(b".ssh/authorized_keys")
}

/// Decides what a request for a shell starts.
///
/// # Errors
/// When that is not granted.
pub(crate) fn shell(shared: &SessionContext, setup: Setup) -> Result<Start, AccessError> {
    if shared.access.restrictions()?.force_command.is_some() {
        return command(shared, b"", setup);
    }
    let grant = shared.access.grant(Request::Shell)?;
    task(shared, Program::Shell, setup, grant)
}

/// Decides what a request for the subsystem `sftp` starts.
///
/// # Errors
/// When that is not granted.
pub(crate) fn sftp(shared: &SessionContext, setup: Setup) -> Result<Start, AccessError> {
    if shared.access.restrictions()?.force_command.is_some() {
        // As OpenSSH names it to the forced command.
        return command(shared, b"internal-sftp", setup);
    }
    file_transfer(shared, setup)
}

/// Takes out of the environment what the peer has set to have other programs
/// started. What its identity brings, the operator has set.
fn keep_to_the_program(shared: &SessionContext, environment: &mut Environment) {
    let holder = shared.access.holder();
    let brought = holder.map(|holder| holder.environment).unwrap_or_default();
    environment
        .requested
        .retain(|variable| !can_start_programs(&variable.0) || brought.contains(variable));
}

fn file_transfer(shared: &SessionContext, setup: Setup) -> Result<Start, AccessError> {
    let grant = shared.access.grant(Request::Sftp)?;
    let sftp = &shared.active.config.services.sftp;
    let launcher = shared.core.launcher.as_ref();
    let context = launcher.and_then(|launcher| launcher.context());
    let request = helper::Request::Sftp {
        // Without one, what the peer's own rights let it see.
        root: sftp.root.clone().unwrap_or_else(|| "/".to_owned()),
        read_only: sftp.read_only,
        max_open_files: sftp.max_open_files,
        private: context
            .map(|context| context.private.clone())
            .unwrap_or_default(),
    };
    // It has no use for a terminal.
    let setup = Setup {
        terminal: None,
        ..setup
    };
    task(shared, Program::Files(request), setup, grant)
}

fn task(
    shared: &SessionContext,
    program: Program,
    setup: Setup,
    grant: Grant,
) -> Result<Start, AccessError> {
    let peer = peer::peer(shared, &grant)?;
    Ok(Start::Command(Box::new(Task {
        program,
        setup,
        peer,
        grant,
    })))
}
