use serde::{Deserialize, Serialize};

/// What the node asks the monitor for, beside the requests of handlers. One
/// descriptor comes with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeRequest {
    /// The descriptor is the far end of a handler's socket.
    Handler,
    /// Whose process this is. The descriptor is the socket for the answer,
    /// [`Whose`](crate::Whose).
    Whose(i32),
}
