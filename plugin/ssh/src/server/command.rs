use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use pty_process::OwnedReadPty;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::sleep;

use super::access::Grant;
use super::channel::{Event, Input, STDERR, close_with_words, finish, tell};
use super::outflow;
use super::session::Shared;
use super::traffic::Traffic;
use crate::process::{
    Environment, ProcessGroup, Program, Signal, Size, Spawned, Streams, TerminalControl,
    TerminalRequest, spawn,
};
use crate::queue::ByteQueue;
use crate::status::{Live, count};

/// The least silence taken for the end of a command's output.
const SILENCE: Duration = Duration::from_millis(100);

/// What a channel is to run, and was granted to.
pub(super) struct Task {
    pub(super) program: Program,
    pub(super) setup: Setup,
    pub(super) grant: Grant,
}

/// What a channel was given before it was told what to run.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) environment: Environment,
    pub(super) terminal: Option<TerminalRequest>,
}

impl Task {
    /// The terminal's size, if it was changed before there was one.
    pub(super) fn resize(&mut self, size: Option<Size>) {
        if let (Some(terminal), Some(size)) = (&mut self.setup.terminal, size) {
            terminal.size = size;
        }
    }
}

/// Runs a command on a channel, to the end of its processes.
pub(super) async fn run(
    task: Task,
    mut input: Input,
    writer: &ChannelWriteHalf<Msg>,
    handle: &Handle,
    shared: &Arc<Shared>,
) {
    let services = &shared.active.config.services;
    let Setup {
        environment,
        terminal,
    } = task.setup;
    let spawned = spawn(
        &task.program,
        services,
        &shared.origin,
        environment,
        terminal.as_ref(),
    );
    let Spawned {
        mut child,
        group,
        streams,
    } = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            tracing::warn!(%error, "a command could not be started");
            tokio::select! {
                () = could_not_start(writer, &error) => {}
                () = input.closed() => {}
            }
            return;
        }
    };
    count(&shared.counters.commands_started);
    let _live = Live::new(&shared.counters.children);
    let queue = input.queue.clone();
    let traffic = Arc::clone(&input.traffic);
    let steps = Steps::default();
    let exec = &services.exec;
    let (passing, feeding, terminal, background) = match streams {
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => (
            pass_pipes(stdout, stderr, writer, &steps, &traffic).boxed(),
            feed(stdin, &queue).boxed(),
            None,
            exec.background_output_seconds,
        ),
        // Who leaves a terminal does not wait for what runs on in it.
        Streams::Terminal(terminal) => (
            pass_terminal(terminal.read, writer, &steps, &traffic).boxed(),
            feed(terminal.write, &queue).boxed(),
            Some(terminal.control),
            0,
        ),
    };
    let output = async {
        let background = Duration::from_secs(background.into());
        let status = output(&mut child, passing, &steps, background).await;
        report(writer, handle, status).await;
    };
    let end = tokio::select! {
        () = output => End::Reported,
        end = watch(&mut input, group, terminal) => end,
        () = feeding => End::Reported,
        () = task.grant.revoked() => End::Cut(REVOKED),
    };
    queue.close();
    // Lets the session go on, whatever still comes for the command.
    drop(input);
    if let End::Cut(why) = end {
        close_with_words(writer, why).await;
    }
    let grace = Duration::from_secs(exec.kill_grace_seconds.into());
    group.end(child, grace).await;
}

enum End {
    Reported,
    Closed,
    /// We end it, and say why.
    Cut(&'static str),
}

/// How far passing output on has come: see [`outflow::pass`].
#[derive(Default)]
struct Steps {
    out: AtomicU64,
    err: AtomicU64,
}

const STALLED: &str =
    "alknet: the command was ended: it did not read its input and held up other channels\r\n";
const IDLE: &str =
    "alknet: the command was ended: nothing came from it or went to it for too long\r\n";
const REVOKED: &str = "alknet: the command was ended: it is no longer permitted\r\n";

/// Follows the channel while the command runs; ends only when it does.
async fn watch(input: &mut Input, group: ProcessGroup, terminal: Option<TerminalControl>) -> End {
    loop {
        match input.next().await {
            Event::Signal(signal) => match signal.to_unix() {
                Some(signal) => {
                    group.signal(signal);
                }
                None => tracing::debug!("a peer asked for a signal that is not delivered"),
            },
            Event::Resize(size) => {
                if let Some(terminal) = &terminal {
                    terminal.resize(size);
                }
            }
            Event::Closed => return End::Closed,
            Event::Stalled => return End::Cut(STALLED),
            Event::Idle => return End::Cut(IDLE),
        }
    }
}

/// Writes what comes in to the command's standard input or terminal. Once the
/// command has closed it, the rest is thrown away. Never completes.
async fn feed(mut stdin: impl AsyncWrite + Unpin, queue: &ByteQueue) {
    while let Some(chunk) = queue.pop().await {
        if stdin.write_all(&chunk).await.is_err() {
            queue.close();
            break;
        }
    }
    drop(stdin);
    std::future::pending::<()>().await;
}

/// Passes the output of both pipes on until both are at their end.
async fn pass_pipes(
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    writer: &ChannelWriteHalf<Msg>,
    steps: &Steps,
    traffic: &Traffic,
) {
    let _ = tokio::join!(
        outflow::pass(&stdout, writer, None, &steps.out, traffic),
        outflow::pass(&stderr, writer, Some(STDERR), &steps.err, traffic),
    );
}

/// Passes a terminal's output on until nobody uses it any more.
async fn pass_terminal(
    mut terminal: OwnedReadPty,
    writer: &ChannelWriteHalf<Msg>,
    steps: &Steps,
    traffic: &Traffic,
) {
    let passed = outflow::pass_terminal(&mut terminal, writer, &steps.out, traffic).await;
    if let Err(error) = passed {
        tracing::debug!(%error, "a terminal's output ended early");
    }
}

/// Passes a command's output on to its end, and waits for the command. A
/// background process that holds the output open beyond the command's own end
/// is waited for only while it goes on writing.
async fn output(
    child: &mut Child,
    passing: impl Future<Output = ()>,
    progress: &Steps,
    background: Duration,
) -> io::Result<ExitStatus> {
    tokio::pin!(passing);
    let status = tokio::select! {
        status = child.wait() => status,
        () = &mut passing => return child.wait().await,
    };
    let steps = || {
        (
            progress.out.load(Ordering::Relaxed),
            progress.err.load(Ordering::Relaxed),
        )
    };
    loop {
        let before = steps();
        tokio::select! {
            () = &mut passing => break,
            () = sleep(background.max(SILENCE)) => {
                let writing = before.0 % 2 == 1 || before.1 % 2 == 1;
                if steps() == before && !writing {
                    break;
                }
            }
        }
    }
    status
}

/// Exit status or signal, then the end (RFC 4254 section 6.10).
async fn report(writer: &ChannelWriteHalf<Msg>, handle: &Handle, status: io::Result<ExitStatus>) {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(%error, "a command's exit status is unknown");
            return finish(writer, 255).await;
        }
    };
    if let Some(number) = status.signal() {
        let signal = Signal::from_number(number);
        let _ = handle
            .exit_signal_request(
                writer.id(),
                signal.into(),
                status.core_dumped(),
                String::new(),
                String::new(),
            )
            .await;
        let _ = writer.eof().await;
        let _ = writer.close().await;
        return;
    }
    let code = status.code().and_then(|code| u32::try_from(code).ok());
    finish(writer, code.unwrap_or(255)).await;
}

/// Says why on standard error and exits as a shell would: 127 for what is not
/// there, 126 for what cannot be run.
async fn could_not_start(writer: &ChannelWriteHalf<Msg>, error: &io::Error) {
    let status = match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    let _ = tell(
        writer,
        &format!("alknet: the command could not be started: {error}\r\n"),
    )
    .await;
    finish(writer, status).await;
}
