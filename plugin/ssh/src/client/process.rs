use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ClientError, UNREAD_OUTPUT};
use crate::Signal;
use crate::queue::{Budget, ByteQueue};

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
    exit: oneshot::Receiver<Exit>,
    writer: Arc<ChannelWriteHalf<Msg>>,
}

/// How a command ended (RFC 4254 section 6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited.
    Status(u32),
    /// A signal ended it.
    Signal {
        /// Which one.
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
    queue: ByteQueue,
    rest: Bytes,
    _close_on_drop: Option<DropGuard>,
}

/// Asks for the environment and the command, and waits for the answer.
pub(super) async fn start(
    channel: Channel<Msg>,
    command: Vec<u8>,
    environment: &[(&str, &str)],
    budget: &Budget,
) -> Result<RemoteProcess, ClientError> {
    let (reader, writer) = channel.split();
    let writer = Arc::new(writer);
    let (accepted, answer) = oneshot::channel();
    let (exited, exit) = oneshot::channel();
    let closed = CancellationToken::new();
    let stdout_dropped = CancellationToken::new();
    let incoming = Incoming {
        stdout: ByteQueue::new(UNREAD_OUTPUT, budget.clone()),
        stderr: ByteQueue::new(UNREAD_OUTPUT, budget.clone()),
        accepted: Some(accepted),
        exit: Exit::Unknown,
    };
    let output = |queue: &ByteQueue, guard| RemoteOutput {
        queue: queue.clone(),
        rest: Bytes::new(),
        _close_on_drop: guard,
    };
    let process = RemoteProcess {
        stdin: RemoteInput {
            writer: Arc::clone(&writer),
            closed: closed.clone(),
        },
        stdout: output(&incoming.stdout, Some(stdout_dropped.clone().drop_guard())),
        stderr: output(&incoming.stderr, None),
        exit,
        writer: Arc::clone(&writer),
    };
    tokio::spawn({
        let writer = Arc::clone(&writer);
        async move {
            let _closed = closed.drop_guard();
            let exit = incoming.follow(reader, &writer, stdout_dropped).await;
            let _ = exited.send(exit);
        }
    });
    for (name, value) in environment {
        writer.set_env(false, *name, *value).await?;
    }
    writer.exec(true, command).await?;
    match answer.await {
        Ok(true) => Ok(process),
        Ok(false) => Err(ClientError::CommandRefused),
        Err(_) => Err(ClientError::Closed),
    }
}

impl RemoteProcess {
    /// Sends the command a signal.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn signal(&self, signal: Signal) -> Result<(), ClientError> {
        Ok(self.writer.signal(signal.into()).await?)
    }

    /// Waits for the command's end. Its output must be read meanwhile, or it
    /// may never come.
    pub async fn wait(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Unknown)
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
        if self.rest.is_empty() {
            self.queue.pop().await
        } else {
            Some(std::mem::take(&mut self.rest))
        }
    }
}

impl AsyncRead for RemoteOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.queue.poll_pop(cx)) {
                Some(chunk) => self.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.copy_to_bytes(length));
        Poll::Ready(Ok(()))
    }
}

impl Drop for RemoteOutput {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What the server sends on a channel, sorted. Drained from the moment it
/// opens; only the queues' limits stop it.
struct Incoming {
    stdout: ByteQueue,
    stderr: ByteQueue,
    accepted: Option<oneshot::Sender<bool>>,
    exit: Exit,
}

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
        loop {
            let message = tokio::select! {
                message = self.next(&mut reader) => message,
                () = &mut dropped, if !unread => {
                    unread = true;
                    let _ = writer.close().await;
                    continue;
                }
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

    fn answer(&mut self, answer: bool) {
        if let Some(accepted) = self.accepted.take() {
            let _ = accepted.send(answer);
        }
    }
}
