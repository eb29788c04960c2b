//! The start of the monitor in its two modes: as a child of the node, or as
//! its parent.

use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use alknet_session::Socket;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{geteuid, setsid};
use rustix::stdio::{dup2_stdin, dup2_stdout};

use crate::account::Account;
use crate::context::Context;
use crate::monitor::Monitor;
use crate::start_node::start_node;
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
    ensure_single_thread()?;
    let accounts = config.accounts.as_ref();
    let accounts = accounts.ok_or_else(|| io::Error::other("no accounts are configured"))?;
    if !geteuid().is_root() {
        return Err(io::Error::other("only root can serve accounts"));
    }
    let name = &accounts.network_user;
    let network = Account::named(name)?.filter(|account| !account.uid.is_root());
    let network = network.ok_or_else(|| {
        io::Error::other(format!(
            "there is no account {name} for the network-facing process (accounts.network_user); \
             make it: useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
        ))
    })?;
    let context = Context::new(config)?;
    let (pid, socket) = start_node(&context, &network, node)?;
    rustix::thread::set_name(c"alknet-monitor")?;
    let status = Monitor::new(context, socket, Some(pid))?.run()?;
    let code = status.map_or(1, |status| match status.exit_status() {
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        // As a shell says it.
        None => status
            .terminating_signal()
            .and_then(|signal| u8::try_from(128 + signal).ok())
            .unwrap_or(u8::MAX),
    });
    Ok(ExitCode::from(code))
}

/// Fails where this process has several threads: a fork copies the one that
/// calls it, and locks of others would stay locked for ever.
fn ensure_single_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        _ => Err(io::Error::other(
            "the monitor must be started before this process has other threads",
        )),
    }
}
