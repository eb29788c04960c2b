//! Subsystems (RFC 4254 section 6.5): what each name starts.

use super::access::Refused;
use super::channel::Start;
use super::command::Setup;
use super::session::Shared;
use super::start;

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
pub(super) fn start(name: &str, setup: Setup, shared: &Shared) -> Result<Start, Unavailable> {
    if name == "sftp" {
        return Ok(start::sftp(shared, setup)?);
    }
    match shared.active.config.services.subsystems.get(name) {
        Some(line) => Ok(start::command(shared, line.as_bytes(), setup)?),
        None => Err(Unavailable::Unknown),
    }
}
