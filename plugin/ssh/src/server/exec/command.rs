//! A command on its channel: started, fed, its output passed on, its status
//! reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use pty_process::OwnedReadPty;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use crate::connection::Signal;
use crate::connection::queue::ByteQueue;
use crate::server::channel::input::{Event, Input, STDERR, close_with_words, finish, tell};
use crate::server::channel::output;
use crate::server::process::{
    Environment, Job, Launch, Launched, Peer, Program, Size, StartError, Status, Streams,
    TerminalControl, TerminalRequest, helper,
};
use crate::server::session::context::SessionContext;
use crate::server::state::access::Grant;
use crate::server::status::{Live, count};
use crate::server::traffic::Traffic;

/// The least silence taken for the end of a command's output.
const SILENCE: Duration = Duration::from_millis(100);
/// The silence taken for it where processes end with their channel, unless
/// configured otherwise.
const SILENCE_BEFORE_THE_END: Duration = Duration::from_secs(5);

/// A command that a channel is to run, with its grant.
pub(crate) struct Task {
    pub(crate) program: Program,
    pub(crate) setup: Setup,
    pub(crate) peer: Peer,
    pub(crate) grant: Grant,
}

/// The environment and terminal that a channel was given before its command.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) environment: Environment,
    pub(crate) terminal: Option<TerminalRequest>,
}

impl Task {
    /// The terminal's size, if it was changed before there was one.
    pub(crate) fn resize(&mut self, size: Option<Size>) {
        if let (Some(terminal), Some(size)) = (&mut self.setup.terminal, size) {
            terminal.size = size;
        }
    }
}

/// Runs a command on a channel, to the end of the channel. What the command
/// has left behind goes on.
pub(crate) async fn run(
    task: Task,
    mut input: Input,
    writer: &ChannelWriteHalf<Msg>,
    handle: &Handle,
    shared: &Arc<SessionContext>,
) {
    let words = Words::of(&task.program);
    let mut resized = None;
    let started = {
        let starting = start(&task, shared);
        tokio::pin!(starting);
        tokio::select! {
            biased;
            started = &mut starting => started,
            // It is started all the same: a peer need not wait for that.
            () = closed(&mut input, &mut resized) => starting.await,
        }
    };
    let Launched { job, streams } = match started {
        Ok(launched) => launched,
        Err(error) => {
            tracing::warn!(%error, "a process could not be started");
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
    let exec = &shared.active.config.services.exec;
    let (passing, feeding, terminal, background) = match streams {
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => (
            pass_pipes(stdout, stderr, writer, &steps, &traffic).boxed(),
            feed(stdin, &queue).boxed(),
            None,
            background(exec),
        ),
        // Who leaves a terminal does not wait for what runs on in it.
        Streams::Terminal(terminal) => (
            pass_terminal(terminal.read, writer, &steps, &traffic).boxed(),
            feed(terminal.write, &queue).boxed(),
            Some(terminal.control),
            Some(SILENCE),
        ),
    };
    if let (Some(terminal), Some(size)) = (&terminal, resized) {
        terminal.resize(size);
    }
    let output = async {
        let status = output(&job, passing, &steps, background, writer, handle).await;
        warn_of_root(&task.program, status, shared);
    };
    let end = tokio::select! {
        () = output => CommandEndReason::Reported,
        end = watch(&mut input, &job, &words, terminal) => end,
        () = feeding => CommandEndReason::Reported,
        () = task.grant.revoked() => CommandEndReason::Cut(words.revoked.clone()),
    };
    queue.close();
    // Lets the session go on, whatever still comes for the command.
    drop(input);
    let cut = matches!(end, CommandEndReason::Cut(_));
    if let CommandEndReason::Cut(why) = end {
        close_with_words(writer, &why).await;
    }
    let grace = Duration::from_secs(exec.kill_grace_seconds.into());
    let is_files = matches!(task.program, Program::Files(_));
    if cut || exec.end_with_channel || shared.takes_jobs() || task.peer.note.is_empty() {
        job.end(grace).await;
    } else if is_files {
        // It ends by itself once its input has, after the request it is at.
        let _ = timeout(grace, job.exited()).await;
        job.end(Duration::ZERO).await;
    } else {
        job.detach().await;
        shared.core.jobs_changed();
    }
}

/// Waits for the end of a channel whose process is being started.
async fn closed(input: &mut Input, resized: &mut Option<Size>) {
    loop {
        match input.next().await {
            Event::Resize(size) => *resized = Some(size),
            Event::Signal(_) => {}
            Event::Closed | Event::Stalled | Event::Idle => return,
        }
    }
}

/// Starts what was granted.
async fn start(task: &Task, shared: &SessionContext) -> Result<Launched, StartError> {
    let launch = Launch {
        program: &task.program,
        services: &shared.active.config.services,
        environment: task.setup.environment.clone(),
        terminal: task.setup.terminal.as_ref(),
        peer: task.peer.clone(),
    };
    match &shared.core.launcher {
        Some(launcher) => launcher.start(launch).await,
        None => Err(StartError::NoMonitor),
    }
}

/// How long without output a channel stays open after the end of its command,
/// where something still holds the output open; for ever if not given.
fn background(exec: &alknet_ssh_config::Exec) -> Option<Duration> {
    let given = exec.background_output_seconds;
    let given = given.map(|seconds| Duration::from_secs(seconds.into()).max(SILENCE));
    given.or(exec.end_with_channel.then_some(SILENCE_BEFORE_THE_END))
}

enum CommandEndReason {
    Reported,
    Closed,
    /// The server ends the command, for this reason.
    Cut(String),
}

/// Counters that show how far passing output on has come, see [`output::pass`].
#[derive(Default)]
struct Steps {
    out: AtomicU64,
    err: AtomicU64,
}

/// The sentences that say why a command was ended.
struct Words {
    stalled: String,
    idle: String,
    revoked: String,
}

impl Words {
    fn of(program: &Program) -> Self {
        let what = match program {
            Program::Files(_) => "file transfer",
            Program::Command(_) | Program::Shell => "the command",
        };
        let words = |why: &str| format!("alknet: {what} was ended: {why}\r\n");
        Self {
            stalled: words("it did not read its input and held up other channels"),
            idle: words("nothing came from it or went to it for too long"),
            revoked: words("it is no longer permitted"),
        }
    }
}

/// Follows the channel while the command runs; ends only when it does.
async fn watch(
    input: &mut Input,
    job: &Job,
    words: &Words,
    terminal: Option<TerminalControl>,
) -> CommandEndReason {
    loop {
        match input.next().await {
            Event::Signal(signal) => match signal.to_unix() {
                Some(signal) => job.signal(signal).await,
                None => tracing::debug!("a peer asked for a signal that is not delivered"),
            },
            Event::Resize(size) => {
                if let Some(terminal) = &terminal {
                    terminal.resize(size);
                }
            }
            Event::Closed => return CommandEndReason::Closed,
            Event::Stalled => return CommandEndReason::Cut(words.stalled.clone()),
            Event::Idle => return CommandEndReason::Cut(words.idle.clone()),
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
        output::pass(&stdout, writer, None, &steps.out, traffic),
        output::pass(&stderr, writer, Some(STDERR), &steps.err, traffic),
    );
}

/// Passes a terminal's output on until nobody uses it any more.
async fn pass_terminal(
    mut terminal: OwnedReadPty,
    writer: &ChannelWriteHalf<Msg>,
    steps: &Steps,
    traffic: &Traffic,
) {
    let passed = output::pass_terminal(&mut terminal, writer, &steps.out, traffic).await;
    if let Err(error) = passed {
        tracing::debug!(%error, "a terminal's output ended early");
    }
}

/// Passes a command's output on to its end, waits for the command, and reports
/// how that ended. Where a background process holds the output open beyond the
/// command's own end, the peer is told the status at once, and the channel
/// stays for as long as it goes on writing, or without limit.
async fn output(
    job: &Job,
    passing: impl Future<Output = ()>,
    progress: &Steps,
    background: Option<Duration>,
    writer: &ChannelWriteHalf<Msg>,
    handle: &Handle,
) -> Option<Status> {
    tokio::pin!(passing);
    let status = tokio::select! {
        status = job.exited() => status,
        () = &mut passing => {
            let status = job.exited().await;
            report(writer, handle, status).await;
            return status;
        }
    };
    let silence = background.unwrap_or(SILENCE);
    let ended = tokio::select! {
        () = &mut passing => true,
        () = silent(progress, silence) => false,
    };
    tell_status(writer, handle, status).await;
    if !ended && background.is_none() {
        passing.await;
    }
    end(writer).await;
    status
}

/// Completes when nothing has been written for that long.
async fn silent(progress: &Steps, silence: Duration) {
    let steps = || {
        (
            progress.out.load(Ordering::Relaxed),
            progress.err.load(Ordering::Relaxed),
        )
    };
    loop {
        let before = steps();
        sleep(silence).await;
        let writing = before.0 % 2 == 1 || before.1 % 2 == 1;
        if steps() == before && !writing {
            return;
        }
    }
}

/// Sends exit status or signal, then the end (RFC 4254 section 6.10).
async fn report(writer: &ChannelWriteHalf<Msg>, handle: &Handle, status: Option<Status>) {
    tell_status(writer, handle, status).await;
    end(writer).await;
}

async fn tell_status(writer: &ChannelWriteHalf<Msg>, handle: &Handle, status: Option<Status>) {
    match status {
        Some(Status::Exited(status)) => {
            let _ = writer.exit_status(status).await;
        }
        Some(Status::Signaled {
            signal,
            core_dumped,
        }) => {
            let signal = Signal::from_number(signal).into();
            let (words, language) = (String::new(), String::new());
            let _ = handle
                .exit_signal_request(writer.id(), signal, core_dumped, words, language)
                .await;
        }
        None => {
            tracing::error!("a command's exit status is unknown");
            let _ = writer.exit_status(255).await;
        }
    }
}

async fn end(writer: &ChannelWriteHalf<Msg>) {
    let _ = writer.eof().await;
    let _ = writer.close().await;
}

/// Logs that the root of file transfer cannot be used: the peer has been told,
/// and only the operator can correct it.
fn warn_of_root(program: &Program, status: Option<Status>, shared: &SessionContext) {
    let is_files = matches!(program, Program::Files(_));
    if is_files && status == Some(Status::Exited(helper::NO_ROOT.into())) {
        let root = shared.active.config.services.sftp.root.clone();
        // The helper has told the peer alone; a look at the root may take long.
        tokio::task::spawn_blocking(move || {
            let error = root
                .as_deref()
                .and_then(|root| std::fs::metadata(root).err());
            let error = error.map(|error| error.to_string());
            tracing::warn!(root, error, "file transfer failed; see /services/sftp/root");
        });
    }
}

/// Says why on standard error and exits as a shell would.
async fn could_not_start(writer: &ChannelWriteHalf<Msg>, error: &StartError) {
    let words = format!("alknet: the command could not be started: {error}\r\n");
    let _ = tell(writer, &words).await;
    finish(writer, error.status()).await;
}
