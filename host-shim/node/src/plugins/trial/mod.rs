//! The trial of a library: a process of its own goes all the way with it before the node does.
//!
//! The process is this very program, started with the node's own arguments; that it is to try a library out it learns
//! from its standard input, a socket with [`protocol::MAGIC`] waiting in it. There it opens the library, makes a
//! handler with throw-away keys, hands it a connection, drops it, and ends. The library has passed when all of that was
//! reported *and* the process then ended by itself with status 0. ADR 0050 says what that shows and what it does not.

mod child;
mod judge;
mod limits;
mod protocol;

pub(crate) use child::run_if_asked;
pub(crate) use judge::try_out;
pub(crate) use protocol::Settings;
