//! Subsystems (RFC 4254 section 6.5): what each name starts.

use super::access::{Refused, Request};
use super::channel::Start;
use super::command::Task;
use super::session::Shared;

/// Why a subsystem is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    /// Nothing has that name here.
    #[error("there is no such subsystem in /services/subsystems")]
    Unknown,
    /// It is not for this peer.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What a request for the subsystem `name` starts: one arm for each that is
/// served here, then the commands of the configuration, which are decided on
/// as if the peer had asked for that command.
///
/// # Errors
/// When there is none of that name, or not for this peer.
pub(super) fn start(
    name: &str,
    environment: Vec<(String, String)>,
    shared: &Shared,
) -> Result<Start, Unavailable> {
    if name == "sftp" {
        return Ok(Start::Sftp(shared.access.grant(Request::Sftp)?));
    }
    match shared.active.config.services.subsystems.get(name) {
        Some(line) => {
            let (command, grant) = shared.access.exec(line.as_bytes())?;
            Ok(Start::Command(Task {
                command,
                environment,
                grant,
            }))
        }
        None => Err(Unavailable::Unknown),
    }
}
