//! Commands as process groups: started with a clean environment, on pipes or
//! on a terminal, signalled and ended as a group.

mod account;
mod group;
mod modes;
mod session;
mod signal;
mod spawn;
mod terminal;

pub(crate) use account::Account;
pub(crate) use group::ProcessGroup;
pub use signal::Signal;
pub(crate) use spawn::{Environment, Origin, Program, Spawned, Streams, spawn};
pub(crate) use terminal::{Size, Terminal, TerminalControl, TerminalRequest, is_hung_up};
