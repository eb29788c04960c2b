//! Processes of peers, on pipes or on a terminal, with a clean environment:
//! started by the node's monitor, or as children where there is none.

mod account;
mod direct;
mod environment;
mod group;
pub(crate) mod helper;
mod job;
mod launch;
mod launcher;
mod modes;
mod monitor;
mod program;
mod session;
mod start_error;
mod status;
mod streams;
mod terminal;

pub(crate) use account::Account;
pub(crate) use environment::{Environment, Origin};
pub(crate) use group::ProcessGroup;
pub use helper::run_helper;
pub(crate) use job::Job;
pub(crate) use launch::{Launch, Launched, Peer};
pub use launcher::Launcher;
pub(crate) use monitor::{BoundUnix, FoundUnix, Monitor, MonitorError};
pub(crate) use program::Program;
pub(crate) use start_error::StartError;
pub(crate) use status::Status;
pub(crate) use streams::Streams;
pub(crate) use terminal::{Size, Terminal, TerminalControl, TerminalRequest, is_hung_up};
