//! Subsystems (RFC 4254 section 6.5): what each name starts.

use super::channel::Start;
use super::command::Setup;
use super::start;
use crate::server::session::context::SessionContext;
use crate::server::session::denial::{self, Asked};
use crate::server::state::access::AccessError;

/// Why a subsystem is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// No subsystem has this name.
    #[error("there is no such subsystem in /services/subsystems")]
    Unknown,
    /// The peer may not use it.
    #[error(transparent)]
    Refused(#[from] AccessError),
}

/// What a request for the subsystem `name` starts: one arm for each that is
/// served here, then the commands of the configuration, which are decided on
/// as if the peer had asked for that command.
///
/// # Errors
/// When there is none of that name, or not for this peer.
pub(crate) fn start(
    name: &str,
    setup: Setup,
    shared: &SessionContext,
) -> Result<Start, Unavailable> {
    if name == "sftp" {
        return Ok(start::sftp(shared, setup)?);
    }
    match shared.active.config.services.subsystems.get(name) {
        Some(line) => Ok(start::command(shared, line.as_bytes(), setup)?),
        None => Err(Unavailable::Unknown),
    }
}

/// The sentence for the user when no subsystem has this name, or the peer may
/// not use it.
pub(crate) fn denied(name: &str, unavailable: &Unavailable, shared: &SessionContext) -> String {
    let id = shared.identity();
    let refused = match unavailable {
        Unavailable::Unknown => {
            return "alknet: there is no subsystem of that name here; the node's operator names \
                    its command in services.subsystems\r\n"
                .to_owned();
        }
        Unavailable::Refused(refused) => refused,
    };
    let subsystems = &shared.active.config.services.subsystems;
    let asked = match (shared.forced_command(), subsystems.get(name)) {
        (Some(forced), _) => return denial::line(Asked::of(&forced), refused, &id),
        (None, Some(line)) => Asked::Command(line.as_bytes()),
        (None, None) => Asked::FileTransfer,
    };
    denial::line(asked, refused, &id)
}
