//! The protocol between a plugin and the monitor that starts its peers'
//! processes.
//!
//! No process of a peer is a child of the node. The node's monitor, a small
//! process that loads no plugin and reads no network, starts it. A handler has
//! one socket to the monitor ([`HandlerSessions::socket`]) and sends
//! [`Request`]s over it. Each request carries a socket of its own, on which the
//! answers to it come, so requests need no numbers and never wait for each
//! other. All sockets are of type `SOCK_SEQPACKET` (unix(7)); a message is one
//! value in postcard's encoding, of at most [`MAX_MESSAGE`] bytes, with at most
//! [`MAX_DESCRIPTORS`] descriptors. A request that is larger, up to
//! [`MAX_REQUEST`], comes in a descriptor ([`Socket::send_request`]).
//!
//! A process started by [`Request::Start`] has a *keeper* beside it, the reaper
//! of all its descendants (`PR_SET_CHILD_SUBREAPER`, prctl(2)). The socket of
//! the request leads to the keeper: [`Control`] goes there, [`Event`]s come
//! back. When the socket is closed without [`Control::Detach`], the keeper ends
//! all descendants, since the node is gone.
//!
//! [`UnixSocketFile`] and [`UnixSocketPlace`] are how either side opens the Unix
//! sockets that peers ask for.

#![forbid(unsafe_code)]

mod context;
mod enclosed;
mod message;
mod path;
mod socket;
mod tree;
mod unix;

pub use context::{HandlerSessions, Mode};
pub use enclosed::MAX_REQUEST;
pub use message::{
    Answer, Confinement, Control, Event, Job, JobFilter, JobId, MAX_ARGUMENT, Program, Request,
    Start, UnixTarget, UnixVerdict,
};
pub use socket::{AsyncSocket, MAX_DESCRIPTORS, MAX_MESSAGE, Received, Socket, SocketError};
pub use tree::{Tree, TreeError};
pub use unix::{BoundPath, UnixSocketFile, UnixSocketPlace};
