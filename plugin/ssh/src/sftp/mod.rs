//! The `sftp` subsystem: version 3 of the protocol
//! (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, as its clients
//! expect it.
//!
//! `frames`, `request` and `reply` are the protocol, without any I/O; `tree`
//! is the file system below a root; `answer` brings both together and blocks;
//! [`serve`] runs that beside a channel.

mod answer;
pub(crate) mod attributes;
pub(crate) mod frames;
mod handles;
pub(crate) mod kinds;
mod longname;
mod reply;
mod request;
mod tree;
pub(crate) mod wire;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::answer::Server;
use self::frames::{BadLength, Frames, LONGEST_MESSAGE};
use self::reply::Replies;
use crate::queue::ByteQueue;

/// Bytes of requests taken in before the first of them is answered.
const TOGETHER: usize = 2 * LONGEST_MESSAGE;

/// What a client gets to see.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The folder it takes for the root, an absolute path.
    pub(crate) root: String,
    pub(crate) read_only: bool,
    /// Told to clients that ask.
    pub(crate) max_open_files: u32,
    /// The node's user, and where relative paths begin if it is below the root.
    pub(crate) account: Vec<u8>,
    pub(crate) home: Vec<u8>,
}

/// Where answers go.
pub(crate) trait Sink {
    /// Completes when there is room for more.
    ///
    /// # Errors
    /// When nobody takes any more.
    async fn send(&self, bytes: Bytes) -> io::Result<()>;
}

/// Why file transfer ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The folder cannot be used as the root.
    #[error("the folder for file transfer cannot be opened: {}", io::Error::from(*.0))]
    Root(Errno),
    /// What came is no file transfer.
    #[error(
        "a message of {0} bytes: what comes is no file transfer (is a text printed before it?)"
    )]
    Length(u32),
    /// A message is too short to be answered.
    #[error("a message without a number")]
    NoMessage,
    /// A request came first.
    #[error("a request came before the version")]
    NoInit,
    /// The client speaks nothing that we do.
    #[error("version {0} of the protocol is not supported, only 3")]
    OldVersion(u32),
    /// The client takes no more answers.
    #[error("the client is gone")]
    Gone,
    /// An error of ours.
    #[error("an internal error")]
    Internal,
}

/// Serves a client until it has said its last; `files` is how many files it
/// may have open. Dropped, it ends after the request it is at.
pub(crate) async fn serve(
    settings: Settings,
    files: Arc<Semaphore>,
    queue: &ByteQueue,
    sink: &impl Sink,
) -> Result<(), Fault> {
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let opening = spawn_blocking(move || Server::new(&settings, files, over));
    let server = opening.await.map_err(|_| Fault::Internal)?;
    let server = server.map_err(Fault::Root)?;
    // One batch of answers is on its way while the next is made.
    let (answers, mut outgoing) = mpsc::channel::<Bytes>(1);
    let send = async {
        while let Some(bytes) = outgoing.recv().await {
            if sink.send(bytes).await.is_err() {
                // Ends the waiting for requests too.
                queue.close();
                return Err(Fault::Gone);
            }
        }
        Ok(())
    };
    let (answered, sent) = tokio::join!(answer_all(server, queue, answers), send);
    answered.and(sent)
}

/// Answers requests until there are no more.
async fn answer_all(
    mut server: Server,
    queue: &ByteQueue,
    answers: mpsc::Sender<Bytes>,
) -> Result<(), Fault> {
    let mut frames = Frames::default();
    loop {
        while !frames.is_ready() {
            let Some(chunk) = queue.pop().await else {
                return Ok(());
            };
            frames.push(&chunk);
        }
        while frames.held() < TOGETHER
            && let Some(Some(chunk)) = queue.pop().now_or_never()
        {
            frames.push(&chunk);
        }
        let answering = spawn_blocking(move || {
            let mut replies = Replies::default();
            let outcome = server.answer(&mut frames, &mut replies);
            (server, frames, replies, outcome)
        });
        let (back, rest, replies, outcome) = answering.await.map_err(|_| Fault::Internal)?;
        (server, frames) = (back, rest);
        if replies.len() > 0 {
            let bytes = Bytes::from(replies.into_bytes());
            answers.send(bytes).await.map_err(|_| Fault::Gone)?;
        }
        outcome?;
    }
}

impl From<BadLength> for Fault {
    fn from(BadLength(length): BadLength) -> Self {
        Self::Length(length)
    }
}
