//! A command that runs at the node, over a connection of our own or one that is
//! shared.

use std::io;

use alknet_ssh::client::{
    RemoteControl, RemoteEnd, RemoteInput, RemoteOutput, RemoteProcess, TerminalSize,
};
use alknet_ssh::{Exit, Signal};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::ended::Ended;
use super::message::Message;
use crate::console::escape::Escapes;
use crate::console::stdio::{Input, Output};

/// A running command: its streams, its control and its end. Dropping it ends
/// it.
pub(crate) struct Command {
    pub(crate) input: CommandInput,
    pub(crate) output: CommandOutput,
    pub(crate) errors: CommandOutput,
    pub(crate) end: CommandEnd,
    pub(crate) control: CommandControl,
    pub(crate) has_terminal: bool,
}

/// The standard input of a command.
pub(crate) enum CommandInput {
    Remote(RemoteInput),
    /// A pipe to the master.
    Pipe(Output),
}

/// The output of a command.
pub(crate) enum CommandOutput {
    Remote(RemoteOutput),
    /// A pipe from the master.
    Pipe(Input),
}

/// The end of a command, to be waited for.
pub(crate) enum CommandEnd {
    Remote(RemoteEnd),
    /// The master reports it.
    Told(oneshot::Receiver<Ended>),
}

/// The handle for signals and window sizes while a command runs.
pub(crate) enum CommandControl {
    Remote(RemoteControl),
    /// Messages for the master.
    Master(mpsc::Sender<Message>),
}

impl From<RemoteProcess> for Command {
    fn from(process: RemoteProcess) -> Self {
        Self {
            has_terminal: process.has_terminal(),
            control: CommandControl::Remote(process.control()),
            input: CommandInput::Remote(process.stdin),
            output: CommandOutput::Remote(process.stdout),
            errors: CommandOutput::Remote(process.stderr),
            end: CommandEnd::Remote(process.end),
        }
    }
}

/// Standard input as typed or piped; `None` if it is left alone.
pub(crate) struct Typed {
    pub(crate) input: Option<Input>,
    pub(crate) escapes: Option<Escapes>,
}

/// Passes `typed` on to its end. Returns true if the user typed the escape that
/// ends the connection.
pub(crate) async fn upload(typed: Typed, to: CommandInput) -> io::Result<bool> {
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
            if !to.send(data).await {
                return Ok(false);
            }
        }
    }
    to.finish().await;
    Ok(false)
}

/// Passes on all output of the command, then returns how it ended.
pub(crate) async fn finish(
    said: CommandOutput,
    said_of_errors: CommandOutput,
    end: CommandEnd,
    output: &Output,
    errors: &Output,
) -> io::Result<Ended> {
    tokio::try_join!(download(said, output), download(said_of_errors, errors))?;
    Ok(end.wait().await)
}

async fn download(mut from: CommandOutput, to: &Output) -> io::Result<()> {
    while let Some(chunk) = from.chunk().await? {
        to.write_all(&mut [chunk]).await?;
    }
    Ok(())
}

impl CommandInput {
    /// Sends bytes. Returns false if nobody reads them any more.
    async fn send(&self, data: Bytes) -> bool {
        match self {
            Self::Remote(input) => input.send(data).await.is_ok(),
            Self::Pipe(pipe) => pipe.write_all(&mut [data]).await.is_ok(),
        }
    }

    async fn finish(self) {
        if let Self::Remote(input) = self {
            // The command may have ended already.
            let _ = input.finish().await;
        }
    }
}

impl CommandOutput {
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Remote(output) => Ok(output.chunk().await),
            Self::Pipe(pipe) => Ok(Some(pipe.read().await?).filter(|chunk| !chunk.is_empty())),
        }
    }
}

impl CommandEnd {
    async fn wait(self) -> Ended {
        match self {
            Self::Remote(mut end) => Ended {
                exit: end.wait().await,
                connection: None,
            },
            Self::Told(ended) => ended.await.unwrap_or_else(|_| Ended {
                exit: Exit::Unknown,
                connection: Some("the background process that had it has ended".to_owned()),
            }),
        }
    }
}

impl CommandControl {
    /// Sends the command a signal, by its SSH name. It may have ended already.
    pub(crate) async fn signal(&self, name: &str) {
        match self {
            Self::Remote(control) => drop(control.signal(Signal::new(name)).await),
            Self::Master(messages) => drop(messages.send(Message::Signal(name.to_owned())).await),
        }
    }

    /// Tells the command that the terminal has another size.
    pub(crate) async fn resize(&self, size: TerminalSize) {
        match self {
            Self::Remote(control) => drop(control.resize(size).await),
            Self::Master(messages) => drop(messages.send(Message::Resize(size)).await),
        }
    }
}
