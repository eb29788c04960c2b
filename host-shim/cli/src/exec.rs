use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use alknet_ssh::client::{
    Program, RemoteControl, RemoteEnd, RemoteInput, RemoteOutput, RemoteProcess, SessionRequest,
    Terminal as RemoteTerminal,
};
use alknet_ssh::{Exit, Signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ExecArgs;
use crate::escape::Escapes;
use crate::failure::Failure;
use crate::raw_mode::{self, RawMode};
use crate::session::{Connector, Session};
use crate::signals::{self, Signals};
use crate::stdio::{Input, Output};
use crate::terminal::Terminal;

/// `alknet exec`: a command on the node, with our standard streams. The status
/// to exit with.
pub(crate) async fn run(args: &ExecArgs, terminal: Terminal) -> Result<u8, Failure> {
    let mut signals = Signals::watch().map_err(Failure::Signals)?;
    let mut connector = Connector::new(&args.session, terminal)?.for_command();
    let session = tokio::select! {
        session = connector.connect() => session?,
        ending = signals.next() => return Ok(128 + ending.number),
    };
    let outcome = carry_out(args, &session, &mut signals, terminal).await;
    session.close().await;
    outcome
}

async fn carry_out(
    args: &ExecArgs,
    session: &Session,
    signals: &mut Signals,
    terminal: Terminal,
) -> Result<u8, Failure> {
    let request = request(args, terminal);
    let wants_terminal = request.terminal.is_some();
    let process = tokio::select! {
        process = session.client.start(request) => process?,
        ending = signals.next() => return Ok(128 + ending.number),
    };
    if wants_terminal && !process.has_terminal() {
        terminal.notice(&"the node gives no terminal");
    }
    // Dropped in reverse order: where several are one open file, its flags are
    // those of before in the end, and so is the terminal.
    let input = Input::stdin().map_err(Failure::Stdio)?;
    let output = Output::stdout().map_err(Failure::Stdio)?;
    let errors = Output::stderr().map_err(Failure::Stdio)?;
    let raw = (process.has_terminal() && raw_mode::is_terminal()).then(RawMode::on);
    let raw = raw.transpose().map_err(Failure::Stdio)?;
    let input = Typed {
        input: (!args.no_input).then_some(input),
        escapes: raw.is_some().then(Escapes::new),
    };
    let end = stream(process, input, &output, &errors, signals).await?;
    match end {
        End::Exit(Exit::Status(status)) => Ok(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        End::Exit(Exit::Signal { signal, .. }) => {
            terminal.detail(&format_args!("signal {} ended the command", signal.name()));
            Ok(signals::number(signal.name()).map_or(u8::MAX, |number| 128 + number))
        }
        End::Exit(Exit::Unknown) => Err(Failure::Lost {
            end: session.client.end(),
        }),
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
            terminal.notice(&"no terminal is asked for, since standard input is none; -tt asks for one all the same");
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

/// How it came to an end.
enum End {
    Exit(Exit),
    /// We are to end with this status, whatever the command does.
    Status(u8),
}

/// What a program dies of that writes to a closed pipe: 128 + SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;
/// What ssh exits with when it is told to end.
const LEFT: u8 = 255;
/// How long a command may take to end after a signal was passed on to it.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

async fn stream(
    process: RemoteProcess,
    input: Typed,
    output: &Output,
    errors: &Output,
    signals: &mut Signals,
) -> Result<End, Failure> {
    let control = process.control();
    let RemoteProcess {
        stdin,
        stdout,
        stderr,
        end,
        ..
    } = process;
    let upload = upload(input, &stdin);
    let outcome = finish(stdout, stderr, end, output, errors);
    tokio::pin!(upload, outcome);
    let mut uploading = true;
    let told = told_to_end(signals, &control);
    let resized = follow_size(&control);
    tokio::pin!(told, resized);
    loop {
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome.map_err(Failure::Stdio),
            status = &mut told => return Ok(End::Status(status)),
            left = &mut upload, if uploading => {
                uploading = false;
                if left.map_err(Failure::Stdio)? {
                    return Ok(End::Status(LEFT));
                }
            }
            never = &mut resized => match never.map_err(Failure::Signals)? {},
        }
    }
}

/// Standard input as typed or piped.
struct Typed {
    input: Option<Input>,
    escapes: Option<Escapes>,
}

/// Passes on our input to its end. True if the user wants to leave.
async fn upload(typed: Typed, stdin: &RemoteInput) -> io::Result<bool> {
    let Typed { input, mut escapes } = typed;
    if let Some(input) = input {
        loop {
            let mut data = input.read().await?;
            if data.is_empty() {
                break;
            }
            if let Some(escapes) = &mut escapes {
                let (sent, leave) = escapes.filter(&data);
                if leave {
                    return Ok(true);
                }
                data = sent.into();
            }
            // The command wants no more, or the connection has ended: what
            // comes from there says so.
            if stdin.send(data).await.is_err() {
                return Ok(false);
            }
        }
    }
    let _ = stdin.finish().await;
    Ok(false)
}

/// Passes on all that the command says, and then how it ended.
async fn finish(
    stdout: RemoteOutput,
    stderr: RemoteOutput,
    mut end: RemoteEnd,
    output: &Output,
    errors: &Output,
) -> io::Result<End> {
    let said = tokio::try_join!(download(stdout, output), download(stderr, errors));
    match said {
        Ok(_) => Ok(End::Exit(end.wait().await)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(End::Status(BROKEN_PIPE)),
        Err(error) => Err(error),
    }
}

async fn download(mut from: RemoteOutput, to: &Output) -> io::Result<()> {
    while let Some(chunk) = from.chunk().await {
        to.write_all(&mut [chunk]).await?;
    }
    Ok(())
}

/// Passes the first signal on to the command. Completes when it was not enough:
/// with a second one, or after a while.
async fn told_to_end(signals: &mut Signals, control: &RemoteControl) -> u8 {
    let first = signals.next().await;
    let _ = control.signal(Signal::new(first.name)).await;
    tokio::select! {
        second = signals.next() => 128 + second.number,
        () = tokio::time::sleep(ENDS_WITHIN) => 128 + first.number,
    }
}

/// Passes on every change of the terminal's size.
async fn follow_size(control: &RemoteControl) -> io::Result<std::convert::Infallible> {
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        changes.recv().await;
        let _ = control.resize(raw_mode::size()).await;
    }
}
