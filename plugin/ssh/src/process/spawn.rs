use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{PoisonError, RwLock};

use alknet_ssh_config::Services;
use alknet_ssh_policy::Command;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command as Process};

use super::{Account, ProcessGroup, Terminal, TerminalRequest};

/// Where programs are looked for unless the configuration sets `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Read while a process is started.
static FORKS: RwLock<()> = RwLock::new(());

/// What to run.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A command that was granted.
    Command(Command),
    /// A login shell.
    Shell,
}

/// What runs, and the way to it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) group: ProcessGroup,
    pub(crate) streams: Streams,
}

/// What it reads from and writes to.
#[derive(Debug)]
pub(crate) enum Streams {
    Pipes {
        stdin: ChildStdin,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
    },
    Terminal(Terminal),
}

/// Where a command comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) account: Account,
    pub(crate) peer: Option<SocketAddr>,
}

/// What a command finds in its environment beside what all of them do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// What the peer set.
    pub(crate) requested: Vec<(String, String)>,
    /// The socket of the peer's agent.
    pub(crate) agent: Option<PathBuf>,
    /// What the peer asked for, where a forced command runs in its place.
    pub(crate) original: Option<Vec<u8>>,
}

/// Starts a program in a process group of its own, or in a session of its own
/// where it has a terminal, in the home folder, with nothing of the node's
/// environment.
pub(crate) fn spawn(
    program: &Program,
    services: &Services,
    origin: &Origin,
    environment: Environment,
    terminal: Option<&TerminalRequest>,
) -> io::Result<Spawned> {
    let mut process = process(program, services, origin, environment);
    let Some(request) = terminal else {
        process.envs(&services.exec.environment);
        return on_pipes(process);
    };
    let opened = request.open()?;
    process
        .env("TERM", request.kind())
        .env("SSH_TTY", &opened.path)
        .envs(&services.exec.environment);
    let child =
        forking(|| pty_process::Command::from(process).spawn(opened.far)).map_err(into_io)?;
    Ok(Spawned {
        group: ProcessGroup::of_session(&child).ok_or_else(missing)?,
        child,
        streams: Streams::Terminal(opened.terminal),
    })
}

/// Does something while no process is started: a descriptor that exists for a
/// moment before it is marked as not to be inherited is then not inherited.
pub(super) fn without_forks<T>(action: impl FnOnce() -> T) -> T {
    let _none = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    action()
}

fn forking<T>(action: impl FnOnce() -> T) -> T {
    let _one = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    action()
}

fn on_pipes(mut process: Process) -> io::Result<Spawned> {
    process
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = forking(|| process.spawn())?;
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    Ok(Spawned {
        group: ProcessGroup::of(&child).ok_or_else(missing)?,
        streams: Streams::Pipes {
            stdin,
            stdout: pipe::Receiver::from_owned_fd(stdout.into_owned_fd()?)?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into_owned_fd()?)?,
        },
        child,
    })
}

/// What to run, where and with which environment.
fn process(
    program: &Program,
    services: &Services,
    origin: &Origin,
    environment: Environment,
) -> Process {
    let account = &origin.account;
    let login_shell = match &services.shell.program {
        Some(program) => Path::new(program),
        None => &account.shell,
    };
    let command_shell = Path::new(&services.exec.shell);
    let (mut process, shell) = match program {
        Program::Shell => {
            let mut process = Process::new(login_shell);
            process.arg0(login_name(login_shell));
            (process, login_shell)
        }
        Program::Command(Command::Shell(line)) => {
            let mut process = Process::new(command_shell);
            process.arg("-c").arg(line);
            (process, command_shell)
        }
        Program::Command(Command::Direct { program, arguments }) => {
            let mut process = Process::new(program);
            process.args(arguments);
            (process, command_shell)
        }
    };
    process
        .env_clear()
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env("SHELL", shell)
        .env("PATH", PATH);
    if let Some(peer) = origin.peer {
        // The local end is not known here; OpenSSH writes it so as well.
        let (ip, port) = (peer.ip().to_canonical(), peer.port());
        process
            .env("SSH_CLIENT", format!("{ip} {port} 65535"))
            .env("SSH_CONNECTION", format!("{ip} {port} UNKNOWN 65535"));
    }
    process.envs(environment.requested);
    if let Some(socket) = environment.agent {
        process.env("SSH_AUTH_SOCK", socket);
    }
    if let Some(original) = environment.original {
        process.env("SSH_ORIGINAL_COMMAND", OsString::from_vec(original));
    }
    process
        .current_dir(account.working_directory())
        .kill_on_drop(true);
    process
}

/// The name by which a shell knows that it is a login shell (login(1)).
fn login_name(shell: &Path) -> OsString {
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    name
}

fn missing() -> io::Error {
    io::Error::other("the command's process or pipes are missing")
}

/// Keeps the kind: what is not found is told apart.
pub(super) fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
        error => io::Error::other(error),
    }
}
