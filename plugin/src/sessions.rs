//! What the node says about starting processes, in `HandlerContext::more`.

use std::os::fd::{BorrowedFd, OwnedFd};

use alknet_plugin_interface::PluginError;
use alknet_session::{HandlerSessions, Socket};
use alknet_ssh::Launcher;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

/// The lowest number of a descriptor that is not one of the standard streams.
const FIRST: i32 = 3;

/// What starts processes, over the handler's socket to the node's monitor.
/// `None` where the node has no monitor: then none is started. Must be called
/// inside the runtime.
pub(crate) fn launcher(more: &str) -> Result<Option<Launcher>, PluginError> {
    let more: serde_json::Value = serde_json::from_str(more)
        .map_err(|error| PluginError::new(format!("HandlerContext.more: {error}")))?;
    let Some(sessions) = more.get("sessions") else {
        return Ok(None);
    };
    let sessions: HandlerSessions = serde_json::from_value(sessions.clone())
        .map_err(|error| PluginError::new(format!("HandlerContext.more.sessions: {error}")))?;
    let failed = |error: &dyn std::fmt::Display| {
        PluginError::new(format!("the socket to the node's monitor: {error}"))
    };
    let socket = duplicate(sessions.socket).map_err(|error| failed(&error))?;
    Launcher::new(Socket::from(socket), sessions)
        .map(Some)
        .map_err(|error| failed(&error))
}

/// A descriptor of our own for the socket that the node lends us.
#[allow(unsafe_code)]
fn duplicate(number: i32) -> std::io::Result<OwnedFd> {
    if number < FIRST {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the node keeps this descriptor open until the factory has
    // returned, and this is called by the factory; it is not kept. A number
    // that is not one of a socket is refused by the calls below.
    let lent = unsafe { BorrowedFd::borrow_raw(number) };
    if socket_type(lent)? != SocketType::SEQPACKET {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    Ok(fcntl_dupfd_cloexec(lent, FIRST)?)
}
