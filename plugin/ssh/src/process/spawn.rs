use std::io;
use std::net::SocketAddr;
use std::process::Stdio;

use alknet_ssh_config::Exec;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command as Process};

use super::{Account, ProcessGroup};
use alknet_ssh_policy::Command;

/// Where programs are looked for unless the configuration sets `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs, and the pipes to it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) group: ProcessGroup,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// Where a command comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) account: Account,
    pub(crate) peer: Option<SocketAddr>,
}

/// Starts a command in a process group of its own, in the home folder, with
/// nothing of the node's environment.
pub(crate) fn spawn(
    command: &Command,
    config: &Exec,
    origin: &Origin,
    requested: &[(String, String)],
) -> io::Result<Spawned> {
    let mut process = match command {
        Command::Shell(line) => {
            let mut process = Process::new(&config.shell);
            process.arg("-c").arg(line);
            process
        }
        Command::Direct { program, arguments } => {
            let mut process = Process::new(program);
            process.args(arguments);
            process
        }
    };
    let account = &origin.account;
    process
        .env_clear()
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env("SHELL", &config.shell)
        .env("PATH", PATH);
    if let Some(peer) = origin.peer {
        // The local end is not known here; OpenSSH writes it so as well.
        let (ip, port) = (peer.ip().to_canonical(), peer.port());
        process
            .env("SSH_CLIENT", format!("{ip} {port} 65535"))
            .env("SSH_CONNECTION", format!("{ip} {port} UNKNOWN 65535"));
    }
    let mut child = process
        .envs(requested.iter().map(|(name, value)| (name, value)))
        .envs(&config.environment)
        .current_dir(account.working_directory())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let missing = || io::Error::other("the command's pipes are missing");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    Ok(Spawned {
        group: ProcessGroup::of(&child).ok_or_else(missing)?,
        stdin,
        stdout: pipe::Receiver::from_owned_fd(stdout.into_owned_fd()?)?,
        stderr: pipe::Receiver::from_owned_fd(stderr.into_owned_fd()?)?,
        child,
    })
}
