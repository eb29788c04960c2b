//! The master's side of one user: reads the request, runs the command, passes
//! its streams.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use alknet_ssh::client::SessionRequest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::command::{Command, Typed, finish, upload};
use super::message::{Hello, Message};
use super::wire::{FrameReader, FrameWriter, wire};
use crate::connection::connection_pool::{ConnectionPool, Lane};
use crate::console::stdio::{Input, Output};

/// What every user of the connection is served from.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) peer: [u8; 32],
    /// The time that the node may take to open a channel.
    pub(crate) patience: Duration,
    pub(crate) pool: Arc<ConnectionPool>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// An event that concerns the master as a whole.
pub(crate) enum Event {
    /// A user asked it to end, and waits for the answer.
    Exit(FrameWriter),
    /// A user asked it to accept no more users, and waits for the answer.
    Stop(FrameWriter),
    /// The node did not answer.
    Silent,
}

/// Serves one user, who may leave at any time.
pub(crate) async fn serve(stream: UnixStream, serving: Serving) {
    // There is nobody to tell: the other end has gone, or is none of ours.
    let _ = talk(stream, serving).await;
}

/// The time that a user may take for the first message.
const FIRST_WORD: Duration = Duration::from_secs(10);

async fn talk(stream: UnixStream, serving: Serving) -> io::Result<()> {
    let (mut reader, writer) = wire(stream)?;
    let hello = Hello {
        pid: std::process::id(),
        peer: serving.peer,
    };
    writer.send(&Message::Hello(hello)).await?;
    match timeout(FIRST_WORD, reader.next()).await?? {
        Some(Message::Run(request)) => run(request, reader, writer, &serving).await,
        Some(Message::Exit) => {
            let _ = serving.events.send(Event::Exit(writer)).await;
            Ok(())
        }
        Some(Message::Stop) => {
            let _ = serving.events.send(Event::Stop(writer)).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn run(
    request: SessionRequest,
    mut reader: FrameReader,
    writer: FrameWriter,
    serving: &Serving,
) -> io::Result<()> {
    let pipes: Result<[OwnedFd; 3], _> = reader.descriptors().try_into();
    let pipes = pipes.map_err(|_| io::ErrorKind::InvalidData)?;
    let (lane, _place) = serving.pool.pick();
    let channel = match timeout(serving.patience, lane.client().session()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            return writer.send(&Message::NotOpened(error.to_string())).await;
        }
        Err(_) => {
            let _ = serving.events.send(Event::Silent).await;
            let why = "the node does not answer".to_owned();
            return writer.send(&Message::NotOpened(why)).await;
        }
    };
    let process = tokio::select! {
        process = channel.start(request) => process,
        () = gone(&mut reader) => return Ok(()),
    };
    match process {
        Ok(process) => {
            let has_terminal = process.has_terminal();
            writer.send(&Message::Started { has_terminal }).await?;
            let pool = &serving.pool;
            carry(process.into(), pipes, &mut reader, &writer, (pool, &lane)).await
        }
        Err(error) => writer.send(&Message::Refused(error.to_string())).await,
    }
}

/// Carries bytes between the command and the user's pipes, until either has
/// gone.
async fn carry(
    command: Command,
    [input, output, errors]: [OwnedFd; 3],
    reader: &mut FrameReader,
    writer: &FrameWriter,
    (pool, lane): (&ConnectionPool, &Lane),
) -> io::Result<()> {
    let typed = Typed {
        input: Some(Input::of(input)?),
        escapes: None,
    };
    let (output, errors) = (Output::of(output)?, Output::of(errors)?);
    let control = command.control;
    let upload = upload(typed, command.input);
    let outcome = finish(
        command.output,
        command.errors,
        command.end,
        &output,
        &errors,
    );
    tokio::pin!(upload, outcome);
    let mut uploading = true;
    loop {
        tokio::select! {
            biased;
            ended = &mut outcome => {
                let mut ended = ended?;
                ended.connection = pool.link().end().or_else(|| lane.client().end());
                return writer.send(&Message::Ended(ended)).await;
            }
            heard = reader.next() => match heard? {
                Some(Message::Signal(name)) => control.signal(&name).await,
                Some(Message::Resize(size)) => control.resize(size).await,
                Some(_) => {}
                None => return Ok(()),
            },
            _ = &mut upload, if uploading => uploading = false,
        }
    }
}

/// Completes when the user has left.
async fn gone(reader: &mut FrameReader) {
    while let Ok(Some(_)) = reader.next().await {}
}
