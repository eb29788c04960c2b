//! What the node says about starting processes, in `Setup::more`.

use std::fmt::Display;

use alknet_plugin::{ConfigError, Setup};
use alknet_session::{HandlerSessions, Socket};
use alknet_ssh::Launcher;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

/// The launcher of processes, over the handler's socket to the node's monitor.
/// `None` where the node has no monitor: then none is started. Must be called
/// inside the runtime.
pub(crate) fn launcher<C, S>(setup: &Setup<C, S>) -> Result<Option<Launcher>, ConfigError> {
    let Some(sessions) = setup.more.get("sessions") else {
        return Ok(None);
    };
    let sessions: HandlerSessions = serde_json::from_value(sessions.clone())
        .map_err(|error| ConfigError::new(format!("HandlerContext.more.sessions: {error}")))?;
    let failed = |error: &dyn Display| {
        ConfigError::new(format!("the socket to the node's monitor: {error}"))
    };
    let socket = setup.lent_descriptor(sessions.socket);
    let socket = socket.map_err(|error| failed(&error))?;
    if socket_type(&socket).map_err(|error| failed(&error))? != SocketType::SEQPACKET {
        return Err(failed(&"the node lends another kind of descriptor"));
    }
    Launcher::new(Socket::from(socket), sessions)
        .map(Some)
        .map_err(|error| failed(&error))
}
