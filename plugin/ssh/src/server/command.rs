use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin};
use tokio::time::sleep;

use alknet_ssh_policy::Command;

use super::access::Grant;
use super::channel::{Event, Input, STDERR, close_with_words, finish, tell};
use super::outflow;
use super::session::Shared;
use super::traffic::Traffic;
use crate::process::{ProcessGroup, Signal, Spawned, spawn};
use crate::queue::ByteQueue;
use crate::status::{Live, count};

/// The least silence taken for the end of a command's output.
const SILENCE: Duration = Duration::from_millis(100);

/// A command that was granted.
pub(super) struct Task {
    pub(super) command: Command,
    pub(super) environment: Vec<(String, String)>,
    pub(super) grant: Grant,
}

/// Runs a command on a channel, to the end of its process group.
pub(super) async fn run(
    task: Task,
    mut input: Input,
    writer: &ChannelWriteHalf<Msg>,
    handle: &Handle,
    shared: &Arc<Shared>,
) {
    let exec = &shared.active.config.services.exec;
    let spawned = match spawn(&task.command, exec, &shared.origin, &task.environment) {
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
    let Spawned {
        mut child,
        group,
        stdin,
        stdout,
        stderr,
    } = spawned;
    let queue = input.queue.clone();
    let traffic = Arc::clone(&input.traffic);
    let end = {
        let background = Duration::from_secs(exec.background_output_seconds.into());
        let output = async {
            let pipes = (&stdout, &stderr);
            let status = output(&mut child, pipes, writer, background, &traffic).await;
            report(writer, handle, status).await;
        };
        tokio::select! {
            () = output => End::Reported,
            end = watch(&mut input, group) => end,
            () = feed(stdin, &queue) => End::Reported,
            () = task.grant.revoked() => End::Cut(REVOKED),
        }
    };
    queue.close();
    drop((stdout, stderr));
    // Lets the session go on, whatever still comes for the command.
    drop(input);
    if let End::Cut(why) = end {
        close_with_words(writer, why).await;
    }
    group
        .end(child, Duration::from_secs(exec.kill_grace_seconds.into()))
        .await;
}

enum End {
    Reported,
    Closed,
    /// We end it, and say why.
    Cut(&'static str),
}

const STALLED: &str =
    "alknet: the command was ended: it did not read its input and held up other channels\r\n";
const IDLE: &str =
    "alknet: the command was ended: nothing came from it or went to it for too long\r\n";
const REVOKED: &str = "alknet: the command was ended: it is no longer permitted\r\n";

/// Follows the channel while the command runs; ends only when it does.
async fn watch(input: &mut Input, group: ProcessGroup) -> End {
    loop {
        match input.next().await {
            Event::Signal(signal) => match signal.to_unix() {
                Some(signal) => {
                    group.signal(signal);
                }
                None => tracing::debug!("a peer asked for a signal that is not delivered"),
            },
            Event::Closed => return End::Closed,
            Event::Stalled => return End::Cut(STALLED),
            Event::Idle => return End::Cut(IDLE),
        }
    }
}

/// Writes what comes in to the command's standard input. Once the command has
/// closed it, the rest is thrown away. Never completes.
async fn feed(mut stdin: ChildStdin, queue: &ByteQueue) {
    while let Some(chunk) = queue.pop().await {
        if stdin.write_all(&chunk).await.is_err() {
            queue.close();
            break;
        }
    }
    drop(stdin);
    std::future::pending::<()>().await;
}

/// Passes a command's output on until both pipes are at their end, and waits
/// for the command. A background process that holds a pipe open beyond the
/// command's own end is waited for only while it goes on writing.
async fn output(
    child: &mut Child,
    (stdout, stderr): (&pipe::Receiver, &pipe::Receiver),
    writer: &ChannelWriteHalf<Msg>,
    background: Duration,
    traffic: &Traffic,
) -> io::Result<ExitStatus> {
    let (out_steps, err_steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let pipes = async {
        tokio::join!(
            outflow::pass(stdout, writer, None, &out_steps, traffic),
            outflow::pass(stderr, writer, Some(STDERR), &err_steps, traffic),
        )
    };
    tokio::pin!(pipes);
    let status = tokio::select! {
        status = child.wait() => status,
        _ = &mut pipes => return child.wait().await,
    };
    let steps = || {
        (
            out_steps.load(Ordering::Relaxed),
            err_steps.load(Ordering::Relaxed),
        )
    };
    loop {
        let before = steps();
        tokio::select! {
            _ = &mut pipes => break,
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
