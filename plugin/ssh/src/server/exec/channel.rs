//! A session channel, from its opening to the end of what runs on it.

use std::sync::Arc;

use russh::Channel;
use russh::server::{Handle, Msg};
use tokio::sync::mpsc;

use super::command;
use crate::connection::queue::ByteQueue;
use crate::server::audit::About;
use crate::server::channel::input::{Event, Input, close_with_words, finish, tell};
use crate::server::metrics::ChannelKind;
use crate::server::session::context::{ChannelSlot, SessionContext};

/// The exit status of a program that is not permitted, the one that shells use
/// for programs that cannot be run.
const NOT_PERMITTED: u32 = 126;

/// The start of what a session channel is for.
pub(crate) enum Start {
    /// A command, a shell or file transfer.
    Command(Box<command::Task>),
    /// A refusal; the user is shown this reason.
    Refusal(String),
}

/// Serves one session channel to the end of its last process.
pub(crate) async fn serve(
    channel: Channel<Msg>,
    handle: Handle,
    queue: ByteQueue,
    mut starts: mpsc::Receiver<Start>,
    shared: Arc<SessionContext>,
    _place: ChannelSlot,
) {
    let (reader, writer) = channel.split();
    let about = About {
        kind: ChannelKind::Session,
        destination: None,
    };
    let mut input = Input::new(writer.id(), reader, queue, Arc::clone(&shared), &about);
    let mut resized = None;
    let start = loop {
        tokio::select! {
            biased;
            start = starts.recv() => break start,
            event = input.next() => match event {
                Event::Signal(_) => {}
                Event::Resize(size) => resized = Some(size),
                Event::Closed => return,
                Event::Idle => {
                    close_with_words(&writer, "alknet: no command was given for too long\r\n").await;
                    return;
                }
                Event::Stalled => {
                    close_with_words(&writer, "alknet: too much input before any command\r\n").await;
                    return;
                }
            },
        }
    };
    match start {
        Some(Start::Command(mut task)) => {
            task.resize(resized);
            command::run(*task, input, &writer, &handle, &shared).await;
        }
        Some(Start::Refusal(words)) => {
            let refusal = async {
                let _ = tell(&writer, &words).await;
                finish(&writer, NOT_PERMITTED).await;
            };
            tokio::select! {
                () = refusal => {}
                () = input.closed() => {}
            }
        }
        None => {}
    }
}
