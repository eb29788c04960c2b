use std::io;
use std::os::fd::OwnedFd;

use alknet_session::{Socket, SocketError};
use zeroize::Zeroizing;

/// The node's end of its connection to the monitor.
#[derive(Debug)]
pub struct NodeLink {
    socket: Socket,
}

/// Whose process one is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Whose {
    /// Of no peer.
    Other,
    /// Of a peer: it descends from a job.
    Peer {
        /// The id of the peer's identity.
        identity: String,
        /// Whether it is confined, or runs as an account.
        confined: bool,
    },
}

/// Why the monitor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The monitor has ended.
    #[error("the monitor, which starts peers' processes, has ended")]
    Closed,
    /// The monitor did not answer within 5 seconds.
    #[error("the monitor, which starts peers' processes, does not answer")]
    Timeout,
    /// It could not be spoken to.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl NodeLink {
    #[expect(dead_code, reason = "the monitor is not there yet")]
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket }
    }

    /// What the monitor gave to this process when it executed it, with the
    /// secrets of [`NodeProgram::secrets`](crate::NodeProgram::secrets); `None`
    /// when this process was not started by a monitor. To be called once.
    ///
    /// # Errors
    /// When what was given is not a monitor's.
    pub fn inherited() -> io::Result<Option<(Self, Zeroizing<Vec<u8>>)>> {
        Ok(None)
    }

    /// A new socket to the monitor for a handler
    /// ([`HandlerSessions::socket`](alknet_session::HandlerSessions::socket)).
    ///
    /// # Errors
    /// When the monitor has ended.
    pub fn connect_handler(&self) -> Result<OwnedFd, LinkError> {
        let _ = &self.socket;
        Err(LinkError::Closed)
    }

    /// Whose process this is. Who asks about a peer of a Unix socket checks
    /// afterwards that the process of its `SO_PEERPIDFD` still lives, since the
    /// number alone may be taken by another.
    ///
    /// # Errors
    /// When the monitor has ended or does not answer. Must be called inside a
    /// tokio runtime.
    pub async fn whose(&self, pid: i32) -> Result<Whose, LinkError> {
        let _ = pid;
        Err(LinkError::Closed)
    }

    /// Returns when the monitor has ended; the node must then stop, since
    /// nobody can start or end processes. Must be called inside a tokio
    /// runtime.
    pub async fn closed(&self) {
        std::future::pending().await
    }
}
