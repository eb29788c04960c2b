//! The channel of the `sftp` subsystem: requests go out in order, answers go
//! to their callers by number.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::{RemoteInput, RemoteOutput, RemoteProcess};
use super::answer::{Answer, printable, read_answer};
use super::error::FilesError;
use crate::sftp_protocol::frames::Frames;
use crate::sftp_protocol::wire::Put as _;

/// Carries requests to the server, and each answer to whoever asked.
#[derive(Debug)]
pub(super) struct Channel {
    requests: mpsc::Sender<Bytes>,
    asked: Arc<Asked>,
}

/// The callers that wait for an answer, by the number of their request.
#[derive(Debug, Default)]
struct Asked(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
    /// Waits for the server's first message.
    greeting: Option<oneshot::Sender<Bytes>>,
    /// What the server wrote to standard error before it ended; `None` while it
    /// runs.
    ended: Option<String>,
    fault: Option<&'static str>,
}

/// An answer that is on its way.
pub(super) struct Awaited {
    answer: oneshot::Receiver<Answer>,
    asked: Arc<Asked>,
}

/// The most requests that wait for the one before them to be sent.
const AHEAD: usize = 16;
/// The most bytes that are kept of the server's standard error.
const LONGEST_WORDS: usize = 1000;

impl Channel {
    pub(super) fn new(process: RemoteProcess) -> Self {
        let (requests, queue) = mpsc::channel(AHEAD);
        let asked = Arc::new(Asked::default());
        let RemoteProcess {
            stdin,
            stdout,
            stderr,
            ..
        } = process;
        tokio::spawn(send_all(queue, stdin));
        tokio::spawn({
            let asked = Arc::clone(&asked);
            async move {
                let (outcome, words) = tokio::join!(hand_out(stdout, &asked), last_words(stderr));
                asked.end(outcome, words);
            }
        });
        Self { requests, asked }
    }

    /// Sends the first message; gives the server's.
    pub(super) async fn introduce(&self, kind: u8, version: u32) -> Result<Bytes, FilesError> {
        let (sender, greeting) = oneshot::channel();
        self.asked.lock().greeting = Some(sender);
        // The version stands where others have their number.
        let sent = self.requests.send(message(kind, version, |_| {})).await;
        sent.map_err(|_| FilesError::Lost)?;
        greeting.await.map_err(|_| self.asked.dismissal())
    }

    /// Sends a request, and waits for the answer.
    pub(super) async fn ask(
        &self,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Answer, FilesError> {
        self.send(kind, body).await?.await
    }

    /// Sends a request. The answer can be waited for later.
    pub(super) async fn send(
        &self,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Awaited, FilesError> {
        let (id, answer) = self.asked.register();
        let sent = self.requests.send(message(kind, id, body)).await;
        sent.map_err(|_| self.asked.loss())?;
        Ok(Awaited {
            answer,
            asked: Arc::clone(&self.asked),
        })
    }

    /// Sends a request whose answer nobody waits for, if there is room.
    pub(super) fn send_at_once(&self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let (id, _) = self.asked.register();
        let _ = self.requests.try_send(message(kind, id, body));
    }
}

impl Future for Awaited {
    type Output = Result<Answer, FilesError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.map_err(|_| self.asked.loss()))
    }
}

/// A message with its length before it.
fn message(kind: u8, id: u32, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut message = vec![0; size_of::<u32>()];
    message.push(kind);
    message.put_u32(id);
    body(&mut message);
    if let Some((length, rest)) = message.split_first_chunk_mut() {
        *length = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes();
    }
    message.into()
}

/// Sends messages whole, whoever asked for them and has gone since.
async fn send_all(mut queue: mpsc::Receiver<Bytes>, stdin: RemoteInput) {
    while let Some(message) = queue.recv().await {
        if stdin.send(message).await.is_err() {
            return;
        }
    }
    let _ = stdin.finish().await;
}

/// Hands out answers until the server has ended.
async fn hand_out(mut stdout: RemoteOutput, asked: &Asked) -> Result<(), FilesError> {
    let mut frames = Frames::default();
    while let Some(chunk) = stdout.chunk().await {
        frames.push(&chunk);
        while let Some(message) = frames.next()? {
            if let Some(greeting) = asked.lock().greeting.take() {
                let _ = greeting.send(message);
                continue;
            }
            let (id, answer) = read_answer(&message)?;
            if let Some(waiting) = asked.lock().waiting.remove(&id) {
                let _ = waiting.send(answer);
            }
        }
    }
    Ok(())
}

async fn last_words(mut stderr: RemoteOutput) -> String {
    let mut words = Vec::new();
    while let Some(chunk) = stderr.chunk().await {
        let room = LONGEST_WORDS.saturating_sub(words.len());
        words.extend(chunk.iter().take(room));
    }
    printable(&words)
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> (u32, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        // After the end the sender is dropped, and so nobody waits.
        if state.ended.is_none() {
            state.waiting.insert(id, sender);
        }
        (id, receiver)
    }

    fn end(&self, outcome: Result<(), FilesError>, words: String) {
        let mut state = self.lock();
        if let Err(FilesError::Protocol(fault)) = outcome {
            state.fault = Some(fault);
        }
        state.ended = Some(words);
        state.waiting.clear();
        state.greeting = None;
    }

    /// The error when the server has ended before its first message.
    fn dismissal(&self) -> FilesError {
        let words = self.lock().ended.clone().unwrap_or_default();
        match self.loss() {
            FilesError::Lost if !words.is_empty() => FilesError::NotServed { words },
            loss => loss,
        }
    }

    /// The error when the server has ended before its answer.
    fn loss(&self) -> FilesError {
        match self.lock().fault {
            Some(fault) => FilesError::Protocol(fault),
            None => FilesError::Lost,
        }
    }
}
