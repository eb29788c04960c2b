//! The steps from a fork to a peer's program, in the order of OpenSSH's
//! `session.c`. They run in a process of their own, the leader of the job's
//! session; whatever fails there ends it.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use alknet_session::{Confinement, Program, Start};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{execve, execveat, setgroups, setresgid, setresuid};
use rustix::process::{Resource, chdir, ioctl_tiocsctty, setrlimit, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::account::Account;
use crate::confine::{Walls, drop_capabilities, limit_capabilities};
use crate::context::Context;
use crate::helper;
use crate::program::Command;
use crate::sys;

/// The status of a shell for a program that is not there, and for one that
/// could not be executed.
pub(crate) const NOT_FOUND: u8 = 127;
pub(crate) const NOT_EXECUTABLE: u8 = 126;

/// Everything a leader needs, looked up before it was forked.
pub(crate) struct Plan<'a> {
    pub(crate) context: &'a Context,
    pub(crate) start: &'a Start,
    pub(crate) streams: &'a [OwnedFd; 3],
    pub(crate) library: Option<&'a OwnedFd>,
    pub(crate) home: PathBuf,
    pub(crate) environment: Vec<CString>,
    pub(crate) command: Command,
    /// The account to become; `None` where the monitor's own is meant.
    pub(crate) account: Option<&'a Account>,
    pub(crate) confinement: Option<&'a Confinement>,
    pub(crate) system: &'a [PathBuf],
    pub(crate) umask: Option<u32>,
}

/// Why a process was not started.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) status: u8,
    /// The reason in one line, for the peer.
    pub(crate) reason: String,
}

impl StartError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            status: NOT_EXECUTABLE,
            reason: reason.into(),
        }
    }

    /// An error that says what failed, with the system's message.
    pub(crate) fn at(what: &str, error: impl Into<io::Error>) -> Self {
        Self::new(format!("{what}: {}", error.into()))
    }
}

/// Executes the program, or returns why it could not.
pub(crate) fn lead(plan: &Plan<'_>) -> StartError {
    match steps(plan) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn steps(plan: &Plan<'_>) -> Result<std::convert::Infallible, StartError> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| StartError::at(what, error);
    setsid().map_err(failed("a new session"))?;
    let [stdin, stdout, stderr] = plan.streams;
    if plan.start.terminal {
        ioctl_tiocsctty(stdin).map_err(failed("the terminal"))?;
    }
    dup2_stdin(stdin).map_err(failed("standard input"))?;
    dup2_stdout(stdout).map_err(failed("standard output"))?;
    dup2_stderr(stderr).map_err(failed("standard error"))?;
    sys::reset_signals();
    // It may be lower than 0 for the node; where it is not ours to write, it
    // is that of everybody.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let _ = setrlimit(Resource::Core, plan.context.core);
    let walls = plan.confinement.map(|confinement| {
        let context = plan.context;
        Walls::new(
            confinement,
            &context.filters,
            plan.system,
            &context.config.private,
            context.has_view,
        )
    });
    let walls = walls.transpose();
    let walls = walls.map_err(|error| StartError::at("confinement", error))?;
    if walls.is_some() {
        limit_capabilities().map_err(|error| StartError::at("confinement", error))?;
    }
    if let Some(account) = plan.account {
        become_account(account)?;
    }
    if let Some(mask) = plan.umask {
        umask(rustix::fs::Mode::from_raw_mode(mask & 0o777));
    }
    enter_home(&plan.home);
    sys::close_on_exec().map_err(|error| StartError::at("descriptors", error))?;
    if let Some(walls) = walls {
        let what = "confinement";
        drop_capabilities().map_err(|error| StartError::at(what, error))?;
        let files = plan
            .library
            .map(|library| vec![library, &plan.context.program]);
        let terminal = plan.start.terminal.then_some(stdin);
        walls
            .raise(files.as_deref().unwrap_or_default(), terminal)
            .map_err(|error| StartError::at(what, error))?;
    }
    execute(plan)
}

/// Gives up root for an account, and sees that there is no way back.
pub(crate) fn become_account(account: &Account) -> Result<(), StartError> {
    let failed = |error: Errno| StartError::at("the account", error);
    let (uid, gid) = (account.uid, account.gid);
    setgroups(&account.groups).map_err(failed)?;
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)?;
    let root = nix::unistd::Uid::from_raw(0);
    if !uid.is_root() && setresuid(root, root, root).is_ok() {
        return Err(StartError::new("the account: root did not go away"));
    }
    Ok(())
}

/// Changes to the home directory as the account itself, which alone may reach
/// some homes (NFS).
fn enter_home(home: &Path) {
    if let Err(error) = chdir(home) {
        let error = io::Error::from(error);
        let line = format!(
            "Could not chdir to home directory {}: {error}\n",
            home.display()
        );
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = chdir("/");
    }
}

fn execute(plan: &Plan<'_>) -> Result<std::convert::Infallible, StartError> {
    if let (Program::Helper { request }, Some(library)) = (&plan.start.program, plan.library) {
        let program = plan.context.program.as_fd();
        return execute_helper(program, library, request, &plan.environment);
    }
    let mut error = Errno::ENOENT;
    for file in &plan.command.files {
        let Err(refused) = execve(file, &plan.command.arguments, &plan.environment);
        // As execvp(3): a file that is there but not ours counts last.
        match refused {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => error = refused,
            _ => {
                error = refused;
                break;
            }
        }
    }
    let name = plan.command.arguments.first();
    let name = name.map(|name| name.to_string_lossy().into_owned());
    Err(StartError {
        status: match error {
            Errno::ENOENT => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        },
        reason: format!("{}: {}", name.unwrap_or_default(), error.desc()),
    })
}

fn execute_helper(
    program: impl AsFd,
    library: &OwnedFd,
    request: &str,
    environment: &[CString],
) -> Result<std::convert::Infallible, StartError> {
    let failed = |error: io::Error| StartError::at("the helper", error);
    let request = helper::pass(request).map_err(failed)?;
    for descriptor in [library, &request] {
        let none = rustix::io::FdFlags::empty();
        rustix::io::fcntl_setfd(descriptor, none).map_err(|error| failed(error.into()))?;
    }
    let numbers = [library.as_raw_fd(), request.as_raw_fd()];
    let arguments = helper::arguments(numbers);
    let Err(error) = execveat(
        program,
        c"",
        &arguments,
        environment,
        AtFlags::AT_EMPTY_PATH,
    );
    Err(failed(error.into()))
}
