//! The node as a child of the monitor, without the monitor's rights.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use alknet_session::Socket;
use nix::fcntl::AtFlags;
use nix::unistd::execveat;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Signal, getpid, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setpgid, setrlimit,
};

use crate::account::Account;
use crate::context::Context;
use crate::leader::become_account;
use crate::link::{SECRETS_VARIABLE, SOCKET_VARIABLE};
use crate::{NodeProgram, log, sealed, sys};

/// The number of systemd's first socket (sd_listen_fds(3)).
const FIRST_PASSED: i32 = 3;
/// The highest number that a descriptor of the node may be asked for at.
const LAST_PASSED: i32 = 1024;

/// Forks the node and executes it. Gives the monitor's end of the connection.
pub(crate) fn start_node(
    context: &Context,
    account: &Account,
    node: NodeProgram,
) -> io::Result<(Pid, Socket)> {
    let (near, far) = Socket::pair()?;
    let secrets = sealed::write(&node.secrets)?;
    let numbers = node.descriptors.iter().map(|(_, number)| *number);
    if numbers
        .clone()
        .any(|number| !(FIRST_PASSED..=LAST_PASSED).contains(&number))
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Above all numbers that are asked for.
    let above = numbers.max().unwrap_or(FIRST_PASSED) + 1;
    let lift = |descriptor: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(descriptor, above);
    let (socket, secrets) = (lift(&far.into())?, lift(&secrets)?);
    let program = lift(&context.program)?;
    let passed: Vec<_> = node
        .descriptors
        .iter()
        .map(|(descriptor, number)| Ok((lift(descriptor)?, *number)))
        .collect::<io::Result<_>>()?;
    let monitor = getpid();
    let mut keep: Vec<_> = passed.iter().map(|(held, _)| held.as_raw_fd()).collect();
    keep.extend([&socket, &secrets, &program].map(AsRawFd::as_raw_fd));
    let pid = sys::fork(&keep, || {
        let child = Child {
            context,
            account,
            node: &node,
            monitor,
            passed: &passed,
            program: &program,
            given: [&socket, &secrets],
        };
        let Err(error) = child.execute();
        log::line(format_args!("the node could not be executed: {error}"));
        126
    })?;
    Ok((pid, near))
}

struct Child<'a> {
    context: &'a Context,
    account: &'a Account,
    node: &'a NodeProgram,
    monitor: Pid,
    passed: &'a [(OwnedFd, i32)],
    program: &'a OwnedFd,
    /// The socket and the secrets.
    given: [&'a OwnedFd; 2],
}

impl Child<'_> {
    fn execute(&self) -> io::Result<Infallible> {
        sys::reset_signals();
        // A terminal's signals reach the monitor, which passes them on: once.
        let _ = setpgid(None, None);
        let _ = setrlimit(Resource::Core, self.context.core);
        become_account(self.account).map_err(|error| io::Error::other(error.reason))?;
        rustix::thread::set_no_new_privs(true)?;
        // After the change of user, which takes it away.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(self.monitor) {
            return Err(io::Error::other("the monitor has ended"));
        }
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        for (held, number) in self.passed {
            sys::place(held, *number)?;
        }
        for descriptor in self.given {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        let arguments = self.node.arguments.iter().cloned();
        let arguments: Vec<_> = [OsString::from("alknet-node")]
            .into_iter()
            .chain(arguments)
            .filter_map(|argument| CString::new(argument.into_vec()).ok())
            .collect();
        let Err(error) = execveat(
            self.program,
            c"",
            &arguments,
            &self.environment(),
            AtFlags::AT_EMPTY_PATH,
        );
        Err(error.into())
    }

    fn environment(&self) -> Vec<CString> {
        let [socket, secrets] = self.given.map(|given| given.as_raw_fd().to_string());
        let mut variables = self.node.environment.clone();
        for (name, value) in &mut variables {
            // The sockets and the watchdog of systemd are for whoever has this
            // number (sd_listen_fds(3), sd_watchdog_enabled(3)).
            if name == "LISTEN_PID" || name == "WATCHDOG_PID" {
                *value = getpid().as_raw_nonzero().to_string().into();
            }
        }
        variables.push((SOCKET_VARIABLE.into(), socket.into()));
        variables.push((SECRETS_VARIABLE.into(), secrets.into()));
        let texts = variables.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        texts
            .filter_map(|text| CString::new(text.into_vec()).ok())
            .collect()
    }
}
