use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use alknet_session::Socket;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::setsid;
use rustix::stdio::{dup2_stdin, dup2_stdout};

use crate::context::Context;
use crate::monitor::Monitor;
use crate::{MonitorConfig, NodeLink, NodeProgram, log, sys};

/// Forks the monitor off as a child of this process, which must have no other
/// thread. It ends, with all jobs, when the link is dropped or this process
/// ends.
///
/// # Errors
/// When the system refuses, or this process has threads.
pub fn start_owner_mode(config: MonitorConfig) -> io::Result<NodeLink> {
    ensure_single_thread()?;
    let (near, far) = Socket::pair()?;
    sys::fork(&[far.as_raw_fd()], || match run_beside(config, far) {
        Ok(()) => 0,
        Err(error) => {
            log::line(error);
            1
        }
    })?;
    Ok(NodeLink::new(near))
}

fn run_beside(config: MonitorConfig, node: Socket) -> io::Result<()> {
    // A terminal's signals are for the node alone, and so is its input.
    setsid()?;
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    rustix::thread::set_name(c"alknet-monitor")?;
    Monitor::new(Context::new(config)?, node, None)?.run()?;
    Ok(())
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

/// A fork copies the one thread that calls it; locks of others would stay
/// locked for ever.
fn ensure_single_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        _ => Err(io::Error::other(
            "the monitor must be started before this process has other threads",
        )),
    }
}
