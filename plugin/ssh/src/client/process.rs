//! A command, shell or subsystem at the server: its streams, its terminal, its
//! signals and its end (RFC 4254 section 6).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::ClientError;
use super::unread::{UNREAD_OUTPUT, Unread};
use crate::Signal;
use crate::connection::queue::{Budget, ByteQueue};

/// A command that runs at the server. Its streams can be taken apart and used
/// from different tasks. More than 16 MiB of output that nobody reads hold up
/// everything else on the same connection.
#[derive(Debug)]
pub struct RemoteProcess {
    /// The command's standard input.
    pub stdin: RemoteInput,
    /// The command's standard output.
    pub stdout: RemoteOutput,
    /// The command's standard error.
    pub stderr: RemoteOutput,
    /// The command's end.
    pub end: RemoteEnd,
    has_terminal: bool,
    control: RemoteControl,
}

/// A channel on which nothing runs yet.
#[derive(Debug)]
pub struct SessionChannel {
    channel: Channel<Msg>,
    budget: Budget,
}

/// A receiver for the end of a command.
#[derive(Debug)]
pub struct RemoteEnd(oneshot::Receiver<Exit>);

/// A handle that sends signals and window sizes to a running command, from any
/// task.
#[derive(Clone, Debug)]
pub struct RemoteControl(Arc<ChannelWriteHalf<Msg>>);

/// How a command ended (RFC 4254 section 6.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// The command exited with this status.
    Status(u32),
    /// A signal ended the command.
    Signal {
        /// The signal.
        signal: Signal,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// The channel or the connection ended before the server said how.
    Unknown,
}

/// A command's standard input. Dropping it without [`finish`](Self::finish)
/// leaves the command's input open until its channel is closed.
#[derive(Debug)]
pub struct RemoteInput {
    writer: Arc<ChannelWriteHalf<Msg>>,
    closed: CancellationToken,
}

/// A command's standard output or standard error. Dropping standard output
/// closes the channel, as closing a pipe would end the command: who does not
/// want what it says reads and drops it.
#[derive(Debug)]
pub struct RemoteOutput {
    unread: Unread,
    _close_on_drop: Option<DropGuard>,
}

/// A program to run at the server, with its environment and terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The program.
    pub program: Program,
    /// Variables to set; the server decides which of them it sets.
    pub environment: Vec<(String, String)>,
    /// The terminal it runs on, if any; standard error then comes with standard
    /// output.
    pub terminal: Option<Terminal>,
}

/// A program at the server (RFC 4254 section 6.5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Program {
    /// A command, for the user's shell to run.
    Command(Vec<u8>),
    /// The user's shell.
    Shell,
    /// A subsystem, such as `sftp`.
    Subsystem(String),
}

/// A terminal at our end, for the server to imitate (RFC 4254 section 6.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Terminal {
    /// Its kind, as in `TERM`.
    pub kind: String,
    /// Its size.
    pub size: TerminalSize,
    /// Modes by the opcodes of RFC 4254 section 8; unknown ones are left out.
    pub modes: Vec<(u8, u32)>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters across.
    pub columns: u32,
    /// Characters down.
    pub rows: u32,
    /// Pixels across; 0 if unknown.
    pub width: u32,
    /// Pixels down; 0 if unknown.
    pub height: u32,
}

impl SessionChannel {
    pub(super) fn new(channel: Channel<Msg>, budget: &Budget) -> Self {
        Self {
            channel,
            budget: budget.clone(),
        }
    }

    /// Runs a program on it.
    ///
    /// # Errors
    /// When the server refuses the program, or the connection fails.
    pub async fn start(self, request: SessionRequest) -> Result<RemoteProcess, ClientError> {
        start(self.channel, request, &self.budget).await
    }
}

/// Asks for environment, terminal and program in one go, and waits for the
/// answers.
async fn start(
    channel: Channel<Msg>,
    request: SessionRequest,
    budget: &Budget,
) -> Result<RemoteProcess, ClientError> {
    let (reader, writer) = channel.split();
    let writer = Arc::new(writer);
    let (answered, mut answers) = mpsc::unbounded_channel();
    let (exited, exit) = oneshot::channel();
    let closed = CancellationToken::new();
    let stdout_dropped = CancellationToken::new();
    let incoming = Incoming {
        stdout: ByteQueue::new(UNREAD_OUTPUT, budget.clone()),
        stderr: ByteQueue::new(UNREAD_OUTPUT, budget.clone()),
        answered,
        exit: Exit::Unknown,
        ended: false,
    };
    let output = |queue: &ByteQueue, guard| RemoteOutput {
        unread: Unread::new(queue.clone()),
        _close_on_drop: guard,
    };
    let mut process = RemoteProcess {
        stdin: RemoteInput {
            writer: Arc::clone(&writer),
            closed: closed.clone(),
        },
        stdout: output(&incoming.stdout, Some(stdout_dropped.clone().drop_guard())),
        stderr: output(&incoming.stderr, None),
        end: RemoteEnd(exit),
        has_terminal: false,
        control: RemoteControl(Arc::clone(&writer)),
    };
    tokio::spawn({
        let writer = Arc::clone(&writer);
        async move {
            let _closed = closed.drop_guard();
            let exit = incoming.follow(reader, &writer, stdout_dropped).await;
            let _ = exited.send(exit);
        }
    });
    if let Some(terminal) = &request.terminal {
        request_terminal(&writer, terminal).await?;
    }
    for (name, value) in &request.environment {
        writer.set_env(false, name, value).await?;
    }
    match request.program {
        Program::Command(command) => writer.exec(true, command).await?,
        Program::Shell => writer.request_shell(true).await?,
        Program::Subsystem(name) => writer.request_subsystem(true, name).await?,
    }
    if request.terminal.is_some() {
        process.has_terminal = answers.recv().await.ok_or(ClientError::Closed)?;
    }
    match answers.recv().await {
        Some(true) => Ok(process),
        Some(false) => Err(ClientError::CommandRefused),
        None => Err(ClientError::Closed),
    }
}

async fn request_terminal(
    writer: &ChannelWriteHalf<Msg>,
    terminal: &Terminal,
) -> Result<(), russh::Error> {
    let modes: Vec<(Pty, u32)> = terminal
        .modes
        .iter()
        .filter_map(|(code, value)| Some((Pty::from_u8(*code)?, *value)))
        .collect();
    let size = terminal.size;
    writer
        .request_pty(
            true,
            &terminal.kind,
            size.columns,
            size.rows,
            size.width,
            size.height,
            &modes,
        )
        .await
}

impl RemoteProcess {
    /// Sends the command a signal.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn signal(&self, signal: Signal) -> Result<(), ClientError> {
        self.control.signal(signal).await
    }

    /// Whether the server gave it the terminal it was to have.
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// A handle for signals and window sizes while the streams are in use.
    pub fn control(&self) -> RemoteControl {
        self.control.clone()
    }

    /// Waits for the command's end. Its output must be read meanwhile, or it
    /// may never come.
    pub async fn wait(&mut self) -> Exit {
        self.end.wait().await
    }
}

impl RemoteEnd {
    /// Waits for the command's end. Its output must be read meanwhile, or it
    /// may never come.
    pub async fn wait(&mut self) -> Exit {
        (&mut self.0).await.unwrap_or(Exit::Unknown)
    }
}

impl RemoteControl {
    /// Sends the command a signal.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn signal(&self, signal: Signal) -> Result<(), ClientError> {
        Ok(self.0.signal(signal.into()).await?)
    }

    /// Tells it that the terminal has another size (RFC 4254 section 6.7).
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), ClientError> {
        let TerminalSize {
            columns,
            rows,
            width,
            height,
        } = size;
        Ok(self.0.window_change(columns, rows, width, height).await?)
    }
}

impl RemoteInput {
    /// Sends bytes; completes when the server's window has taken them.
    ///
    /// # Errors
    /// When the channel or the connection has ended.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ClientError> {
        tokio::select! {
            sent = self.writer.data_bytes(bytes.into()) => Ok(sent?),
            () = self.closed.cancelled() => Err(ClientError::Closed),
        }
    }

    /// Ends the input: the command reads end-of-file.
    ///
    /// # Errors
    /// When the channel or the connection has ended.
    pub async fn finish(&self) -> Result<(), ClientError> {
        tokio::select! {
            sent = self.writer.eof() => Ok(sent?),
            () = self.closed.cancelled() => Err(ClientError::Closed),
        }
    }
}

impl RemoteOutput {
    /// The next bytes, as they came; `None` at the end.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        self.unread.chunk().await
    }
}

impl AsyncRead for RemoteOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.unread.poll_read(cx, buf));
        Poll::Ready(Ok(()))
    }
}

impl Drop for RemoteOutput {
    fn drop(&mut self) {
        self.unread.close();
    }
}

/// The messages of the server on a channel, sorted into queues. They are read
/// from the moment the channel opens; only the queues' limits stop that.
struct Incoming {
    stdout: ByteQueue,
    stderr: ByteQueue,
    answered: mpsc::UnboundedSender<bool>,
    exit: Exit,
    /// Whether the output has ended.
    ended: bool,
}

/// The time that the server may take to close the channel after we have.
const AFTER_CLOSE: Duration = Duration::from_secs(5);

impl Incoming {
    /// Follows the channel to its end, or until nobody reads the output.
    async fn follow(
        mut self,
        mut reader: ChannelReadHalf,
        writer: &ChannelWriteHalf<Msg>,
        stdout_dropped: CancellationToken,
    ) -> Exit {
        let dropped = stdout_dropped.cancelled();
        tokio::pin!(dropped);
        let mut unread = false;
        let mut closed = false;
        loop {
            let message = tokio::select! {
                message = self.next(&mut reader) => message,
                () = &mut dropped, if !unread => {
                    unread = true;
                    // After its end there is nothing to keep the server from.
                    // And russh passes nothing on any more once we have closed:
                    // the server's own close would never come.
                    if !self.ended {
                        closed = true;
                        let _ = writer.close().await;
                    }
                    continue;
                }
                () = sleep(AFTER_CLOSE), if closed => break,
            };
            match message {
                Some(message) => self.sort(message),
                None => break,
            }
        }
        self.stdout.finish();
        self.stderr.finish();
        self.exit
    }

    /// The next message, once there is room for it.
    async fn next(&self, reader: &mut ChannelReadHalf) -> Option<ChannelMsg> {
        self.stdout.room().await;
        self.stderr.room().await;
        match reader.wait().await {
            Some(ChannelMsg::Close) => None,
            message => message,
        }
    }

    fn sort(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { data } => self.stdout.push(data),
            ChannelMsg::ExtendedData { data, ext: 1 } => self.stderr.push(data),
            ChannelMsg::Success => self.answer(true),
            ChannelMsg::Failure => self.answer(false),
            ChannelMsg::Eof => {
                self.ended = true;
                self.stdout.finish();
                self.stderr.finish();
            }
            ChannelMsg::ExitStatus { exit_status } => self.exit = Exit::Status(exit_status),
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                ..
            } => {
                self.exit = Exit::Signal {
                    signal: signal_name.into(),
                    core_dumped,
                }
            }
            _ => {}
        }
    }

    fn answer(&self, answer: bool) {
        // Nobody asks any more once the command runs.
        let _ = self.answered.send(answer);
    }
}
