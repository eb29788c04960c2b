//! The addresses that a peer may come from.

use std::net::IpAddr;

use alknet_ssh_policy::Sources;

use crate::server::metrics::AuthError;

/// Checks the address that a peer has proven, if it has, against those it may
/// come from, if only some.
pub(super) fn check_address(
    sources: Option<&Sources>,
    peer: Option<IpAddr>,
) -> Result<(), AuthError> {
    match (sources, peer) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(AuthError::NoAddress),
        (Some(sources), Some(peer)) if sources.admit(peer) => Ok(()),
        (Some(_), Some(_)) => Err(AuthError::Address),
    }
}
