//! Processes as children of this process: for programs without a monitor.

use std::io;
use std::path::Path;
use std::sync::Mutex as StdMutex;

use alknet_ssh_policy::Command;
use tokio::process::Command as Process;
use tokio::sync::Mutex;

use super::launch::{Launch, Launched};
use super::program::login_name;
use super::start_error::StartError;
use super::streams::FarEnds;
use super::{Account, Job, ProcessGroup, Program, Streams, helper};

/// The search path for programs unless the configuration sets `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts a program in a process group of its own, or in a session of its own
/// where it has a terminal, in the home directory, with nothing of this
/// process's environment.
pub(super) fn start(account: &Account, launch: Launch<'_>) -> Result<Launched, StartError> {
    let Launch {
        program,
        services,
        environment,
        terminal,
        peer,
    } = launch;
    let command = match program {
        Program::Files(request) => return in_thread(request.clone()),
        Program::Shell => None,
        Program::Command(command) => Some(command),
    };
    let (streams, far) = Streams::open(terminal)?;
    let shell = program.shell(services).unwrap_or(&account.shell);
    let mut process = match command {
        None => {
            let mut process = Process::new(shell);
            process.arg0(login_name(shell));
            process
        }
        Some(Command::Shell(line)) => {
            let mut process = Process::new(shell);
            process.arg("-c").arg(line);
            process
        }
        Some(Command::Direct { program, arguments }) => {
            let mut process = Process::new(program);
            process.args(arguments);
            process
        }
    };
    let kind = terminal.and_then(|request| Some((request.kind(), far.path()?)));
    process
        .env_clear()
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env("SHELL", shell)
        .env("PATH", PATH)
        .envs(environment.variables(services, &peer.origin, None, kind))
        .current_dir(working_directory(account))
        .kill_on_drop(false);
    let (child, group) = match far {
        FarEnds::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            process
                .process_group(0)
                .stdin(stdin)
                .stdout(stdout)
                .stderr(stderr);
            let child = process.spawn()?;
            let group = ProcessGroup::of(&child);
            (child, group)
        }
        FarEnds::Terminal { pts, .. } => {
            let child = pty_process::Command::from(process).spawn(pts);
            let child = child.map_err(super::terminal::into_io)?;
            let group = ProcessGroup::of_session(&child);
            (child, group)
        }
    };
    let group = group.ok_or_else(|| io::Error::other("the process has ended already"))?;
    Ok(Launched {
        job: Job::Child {
            child: Box::new(Mutex::new(child)),
            group,
        },
        streams,
    })
}

fn in_thread(request: helper::Request) -> Result<Launched, StartError> {
    let (streams, far) = Streams::for_files()?;
    let FarEnds::Pipes {
        stdin,
        stdout,
        stderr,
    } = far
    else {
        return Err(StartError::NoMonitor);
    };
    let account = Account::current();
    let thread = tokio::task::spawn_blocking(move || {
        let (stdin, stdout, stderr) = (stdin.into(), stdout.into(), stderr.into());
        helper::files(&request, &account, stdin, stdout, stderr)
    });
    Ok(Launched {
        job: Job::Thread(StdMutex::new(Some(thread))),
        streams,
    })
}

fn working_directory(account: &Account) -> &Path {
    if account.home.is_dir() {
        &account.home
    } else {
        Path::new("/")
    }
}
