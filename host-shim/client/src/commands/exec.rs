//! `alknet exec`: a command or a shell on the node.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use alknet_ssh::Exit;
use alknet_ssh::client::{Program, SessionRequest, Terminal as RemoteTerminal};
use tokio::signal::unix::{SignalKind, signal};

use crate::connection::session::{Connector, Session};
use crate::console::escape::Escapes;
use crate::console::raw_mode::{self, RawMode};
use crate::console::signals::{self, Signals};
use crate::console::stdio::{Input, Output};
use crate::console::terminal::Terminal;
use crate::control_master::command::{Command, CommandControl, Typed, finish, upload};
use crate::control_master::ended::Ended;
use crate::control_master::{self, Sharing};
use crate::failure::Failure;
use crate::options::args::ExecArgs;

/// `alknet exec`: runs a command on the node with our standard streams. Returns
/// the status to exit with.
pub(crate) async fn run(args: &ExecArgs, terminal: Terminal) -> Result<u8, Failure> {
    if let Some(order) = args.order {
        return control_master::give(order, &args.session).await.map(|()| 0);
    }
    let mut signals = Signals::watch().map_err(Failure::signals)?;
    let request = request(args, terminal);
    if let Some(sharing) = Sharing::of(&args.session)? {
        let command = tokio::select! {
            command = control_master::start(&sharing, &args.session, &request, terminal) => command?,
            ending = signals.next() => return Ok(128 + ending.number),
        };
        if let Some(command) = command {
            let end = carry_out(args, &request, command, &mut signals, terminal).await?;
            return status(end, || None, terminal);
        }
    }
    let mut connector = Connector::new(&args.session, terminal)?.for_command();
    let session = tokio::select! {
        session = connector.connect() => session?,
        ending = signals.next() => return Ok(128 + ending.number),
    };
    let outcome = alone(args, request, &session, &mut signals, terminal).await;
    session.close().await;
    outcome
}

/// Runs the command over a connection of its own.
async fn alone(
    args: &ExecArgs,
    request: SessionRequest,
    session: &Session,
    signals: &mut Signals,
    terminal: Terminal,
) -> Result<u8, Failure> {
    let process = tokio::select! {
        process = session.client.start(request.clone()) => process?,
        ending = signals.next() => return Ok(128 + ending.number),
    };
    let end = carry_out(args, &request, process.into(), signals, terminal).await?;
    status(
        end,
        || session.link.end().or_else(|| session.client.end()),
        terminal,
    )
}

async fn carry_out(
    args: &ExecArgs,
    request: &SessionRequest,
    command: Command,
    signals: &mut Signals,
    terminal: Terminal,
) -> Result<End, Failure> {
    if request.terminal.is_some() && !command.has_terminal {
        terminal.notice(&"the node gives no terminal");
    }
    // Dropped in reverse order: where several are one open file, its flags are
    // those of before in the end, and so is the terminal.
    let input = Input::stdin().map_err(Failure::stdio)?;
    let output = Output::stdout().map_err(Failure::stdio)?;
    let errors = Output::stderr().map_err(Failure::stdio)?;
    let raw = (command.has_terminal && raw_mode::is_terminal()).then(RawMode::on);
    let raw = raw.transpose().map_err(Failure::stdio)?;
    let input = Typed {
        input: (!args.no_input).then_some(input),
        escapes: raw.is_some().then(Escapes::new),
    };
    stream(command, input, &output, &errors, signals).await
}

/// The status to exit with; `connection` says how the connection ended.
fn status(
    end: End,
    connection: impl FnOnce() -> Option<String>,
    terminal: Terminal,
) -> Result<u8, Failure> {
    match end {
        End::Ended(ended) => match ended.exit {
            Exit::Status(status) => Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
            Exit::Signal { signal, .. } => {
                terminal.detail(&format_args!("signal {} ended the command", signal.name()));
                Ok(signals::number(signal.name()).map_or(u8::MAX, |number| 128 + number))
            }
            Exit::Unknown => Err(Failure::lost(ended.connection.or_else(connection))),
        },
        End::Status(status) => Ok(status),
    }
}

fn request(args: &ExecArgs, terminal: Terminal) -> SessionRequest {
    let words: Vec<&[u8]> = args.command.iter().map(|word| word.as_bytes()).collect();
    let program = if words.is_empty() {
        Program::Shell
    } else {
        Program::Command(words.join(&b' '))
    };
    let at_terminal = raw_mode::is_terminal();
    let on_terminal = match args.terminal {
        _ if args.no_terminal => false,
        0 => words.is_empty() && at_terminal,
        1 if !at_terminal => {
            terminal.notice(&"no terminal is asked for, since standard input is not one; -tt asks for one nevertheless");
            false
        }
        _ => true,
    };
    SessionRequest {
        program,
        environment: Vec::new(),
        terminal: on_terminal.then(|| RemoteTerminal {
            kind: std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned()),
            size: raw_mode::size(),
            modes: raw_mode::modes(),
        }),
    }
}

/// The end of a run.
enum End {
    Ended(Ended),
    /// The client is to exit with this status, whatever the command does.
    Status(u8),
}

/// The status of a program that died of writing to a closed pipe: 128 +
/// SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;
/// The status that ssh exits with when it is told to end.
const LEFT: u8 = 255;
/// The time that a command may take to end after a signal was passed on to it.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

async fn stream(
    command: Command,
    typed: Typed,
    output: &Output,
    errors: &Output,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let control = command.control;
    let upload = upload(typed, command.input);
    let outcome = finish(command.output, command.errors, command.end, output, errors);
    tokio::pin!(upload, outcome);
    let mut uploading = true;
    let told = told_to_end(signals, &control);
    let resized = follow_size(&control);
    tokio::pin!(told, resized);
    loop {
        tokio::select! {
            biased;
            outcome = &mut outcome => return match outcome {
                Ok(ended) => Ok(End::Ended(ended)),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Ok(End::Status(BROKEN_PIPE))
                }
                Err(error) => Err(Failure::stdio(error)),
            },
            status = &mut told => return Ok(End::Status(status)),
            left = &mut upload, if uploading => {
                uploading = false;
                if left.map_err(Failure::stdio)? {
                    return Ok(End::Status(LEFT));
                }
            }
            never = &mut resized => match never.map_err(Failure::signals)? {},
        }
    }
}

/// Passes the first signal on to the command. Completes when it was not enough:
/// with a second one, or after a while.
async fn told_to_end(signals: &mut Signals, control: &CommandControl) -> u8 {
    let first = signals.next().await;
    control.signal(first.name).await;
    tokio::select! {
        second = signals.next() => 128 + second.number,
        () = tokio::time::sleep(ENDS_WITHIN) => 128 + first.number,
    }
}

/// Passes on every change of the terminal's size.
async fn follow_size(control: &CommandControl) -> io::Result<std::convert::Infallible> {
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        changes.recv().await;
        control.resize(raw_mode::size()).await;
    }
}
