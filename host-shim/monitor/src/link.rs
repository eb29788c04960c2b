//! The node's connection to its monitor: sockets for handlers, questions about
//! processes, the end of jobs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use alknet_session::{Answer, AsyncSocket, Job, JobFilter, Request, Socket, SocketError};
use rustix::net::SocketType;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred, socket_type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

use crate::node_message::NodeRequest;
use crate::{sealed, sys};

/// The time that the monitor has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The variables that tell an executed node the numbers of its descriptors.
pub(crate) const SOCKET_VARIABLE: &str = "ALKNET_MONITOR_SOCKET";
pub(crate) const SECRETS_VARIABLE: &str = "ALKNET_MONITOR_SECRETS";

/// The node's end of its connection to the monitor.
#[derive(Debug)]
pub struct NodeLink {
    socket: Socket,
}

/// The owner of a process, as far as the monitor knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Whose {
    /// The process belongs to no peer.
    Other,
    /// The process belongs to a peer: it descends from a job.
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
    /// The monitor refused the request, for this reason.
    #[error("the monitor, which starts peers' processes, refuses: {0}")]
    Refused(String),
    /// The message to or from the monitor failed.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl NodeLink {
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
        let Some(socket) = number(SOCKET_VARIABLE)? else {
            return Ok(None);
        };
        let secrets = number(SECRETS_VARIABLE)?.ok_or_else(not_a_monitor)?;
        let socket = sys::inherited(socket).ok_or_else(not_a_monitor)?;
        let secrets = sys::inherited(secrets).ok_or_else(not_a_monitor)?;
        let flags = rustix::io::FdFlags::CLOEXEC;
        rustix::io::fcntl_setfd(&socket, flags)?;
        rustix::io::fcntl_setfd(&secrets, flags)?;
        let is_socket = socket_type(&socket)? == SocketType::SEQPACKET;
        // Whoever made the pair of sockets: the monitor, which is root.
        if !is_socket || !socket_peercred(&socket)?.uid.is_root() {
            return Err(not_a_monitor());
        }
        let secrets = sealed::read(secrets)?;
        Ok(Some((Self::new(Socket::from(socket)), secrets)))
    }

    /// A new socket to the monitor for a handler
    /// ([`HandlerSessions::socket`](alknet_session::HandlerSessions::socket)).
    ///
    /// # Errors
    /// When the monitor has ended.
    pub fn connect_handler(&self) -> Result<OwnedFd, LinkError> {
        let (near, far) = Socket::pair()?;
        self.send(NodeRequest::Handler, &far)?;
        Ok(near.into())
    }

    /// The owner of the process with this number. A caller that asks about the
    /// peer of a Unix socket checks afterwards that the process of its
    /// `SO_PEERPIDFD` still lives, since another process may get the number.
    ///
    /// # Errors
    /// When the monitor has ended or does not answer. Must be called inside a
    /// tokio runtime.
    pub async fn whose(&self, pid: i32) -> Result<Whose, LinkError> {
        let (near, far) = Socket::pair()?;
        self.send(NodeRequest::Whose(pid), &far)?;
        drop(far);
        let near = AsyncSocket::new(near)?;
        match tokio::time::timeout(TIMEOUT, near.receive()).await {
            Ok(Ok(Some(received))) => Ok(received.message),
            Ok(Ok(None)) => Err(LinkError::Closed),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(LinkError::Timeout),
        }
    }

    /// The jobs that match. Blocks until the monitor has answered.
    ///
    /// # Errors
    /// When the monitor has ended, refuses, or does not answer.
    pub fn jobs(&self, filter: JobFilter) -> Result<Vec<Job>, LinkError> {
        let answers = self.ask(&Request::Jobs(filter), TIMEOUT)?;
        let mut jobs = Vec::new();
        loop {
            match answer(&answers)? {
                Answer::Job(job) => jobs.push(job),
                Answer::Done => return Ok(jobs),
                Answer::Refused { reason, .. } => return Err(LinkError::Refused(reason)),
                Answer::Found { .. } | Answer::Socket => return Err(LinkError::Closed),
            }
        }
    }

    /// Ends the jobs that match, with all their processes: those that have not
    /// ended by themselves after `grace` are killed. Blocks until none is left.
    ///
    /// # Errors
    /// As for [`jobs`](Self::jobs).
    pub fn end(&self, filter: JobFilter, grace: Duration) -> Result<(), LinkError> {
        let milliseconds = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        let request = Request::End(filter, milliseconds);
        match answer(&self.ask(&request, grace + TIMEOUT)?)? {
            Answer::Done => Ok(()),
            Answer::Refused { reason, .. } => Err(LinkError::Refused(reason)),
            _ => Err(LinkError::Closed),
        }
    }

    /// Sends a request as a handler does; returns the socket for its answers.
    fn ask(&self, request: &Request, timeout: Duration) -> Result<Socket, LinkError> {
        let handler = Socket::from(self.connect_handler()?);
        let (near, far) = Socket::pair()?;
        set_socket_timeout(&near, Timeout::Recv, Some(timeout)).map_err(io::Error::from)?;
        handler.send_request(request, &[far.as_fd()])?;
        Ok(near)
    }

    /// Returns when the monitor has ended; the node must then stop, since
    /// nobody can start or end processes. Must be called inside a tokio
    /// runtime.
    pub async fn closed(&self) {
        let Ok(socket) = self.socket.as_fd().try_clone_to_owned() else {
            return;
        };
        #[expect(
            deprecated,
            reason = "unsound only for types that do not own their descriptor; ours does"
        )]
        let Ok(socket) = AsyncFd::with_interest(socket, Interest::READABLE) else {
            return;
        };
        // The monitor never writes there: what can be read is the end.
        let _ = socket.readable().await;
    }

    fn send(&self, request: NodeRequest, descriptor: &Socket) -> Result<(), LinkError> {
        match self.socket.send(&request, &[descriptor.as_fd()]) {
            Err(SocketError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(LinkError::Closed)
            }
            sent => Ok(sent?),
        }
    }
}

fn answer(socket: &Socket) -> Result<Answer, LinkError> {
    match socket.receive::<Answer>() {
        Ok(Some(received)) => Ok(received.message),
        Ok(None) => Err(LinkError::Closed),
        Err(SocketError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(LinkError::Timeout)
        }
        Err(error) => Err(error.into()),
    }
}

fn number(variable: &str) -> io::Result<Option<i32>> {
    let Some(number) = std::env::var_os(variable) else {
        return Ok(None);
    };
    let number = number.to_str().and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(not_a_monitor)
}

fn not_a_monitor() -> io::Error {
    io::Error::other(format!(
        "{SOCKET_VARIABLE} and {SECRETS_VARIABLE} are set by the node's monitor alone; unset them"
    ))
}
