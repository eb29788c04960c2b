use std::io;
use std::process::ExitCode;

use crate::{MonitorConfig, NodeLink, NodeProgram};

/// Forks the monitor off as a child of this process, which must have no other
/// thread. It ends, with all jobs, when the link is dropped or this process
/// ends.
///
/// # Errors
/// When the system refuses, or this process has threads.
pub fn start_owner_mode(config: MonitorConfig) -> io::Result<NodeLink> {
    let _ = config;
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes this process, which must be root and have no other thread, the
/// monitor, and the node its child: the program of this process, executed
/// afresh as [`AccountsConfig::network_user`](crate::AccountsConfig).
/// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 go on to the node. Returns when
/// the node has ended and no job is left, with the node's status.
///
/// # Errors
/// When there is no such account or the system refuses.
pub fn start_accounts_mode(config: MonitorConfig, node: NodeProgram) -> io::Result<ExitCode> {
    let _ = (config, node);
    Err(io::ErrorKind::Unsupported.into())
}
