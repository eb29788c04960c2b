//! The messages from the node to the monitor.

use serde::{Deserialize, Serialize};

/// A request of the node to the monitor, beside those of handlers. One
/// descriptor comes with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeRequest {
    /// Adds a handler: the descriptor is the monitor's end of its socket.
    Handler,
    /// Asks for the owner of a process. The descriptor is the socket for the
    /// answer, [`Whose`](crate::Whose).
    Whose(i32),
}
