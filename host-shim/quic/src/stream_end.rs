//! The end of our side of a stream, which waits for the peer's acknowledgement.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);

/// How far our side of a stream has come, whichever QUIC stack the stream is of.
#[derive(Default)]
pub struct StreamEnd(State);

#[derive(Default)]
enum State {
    #[default]
    Open,
    Finishing(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Finished,
}

impl StreamEnd {
    /// Polls a shutdown. `finish` is called once: it announces the end of our bytes,
    /// and its future completes when the peer has acknowledged them all.
    ///
    /// # Errors
    /// Those of the future; a timeout when it takes longer than ten seconds.
    pub fn poll_shutdown<F>(
        &mut self,
        cx: &mut Context<'_>,
        finish: impl FnOnce() -> F,
    ) -> Poll<io::Result<()>>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        if self.is_open() {
            self.0 = State::Finishing(Box::pin(in_time(finish())));
        }
        if let State::Finishing(acknowledged) = &mut self.0 {
            let outcome = ready!(acknowledged.as_mut().poll(cx));
            self.0 = State::Finished;
            return Poll::Ready(outcome);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether no shutdown has begun: a stream dropped now is to be reset, so that the
    /// peer never takes half a message for a whole one.
    pub fn is_open(&self) -> bool {
        matches!(self.0, State::Open)
    }
}

async fn in_time(acknowledged: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match tokio::time::timeout(ACKNOWLEDGED_WITHIN, acknowledged).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer did not acknowledge the last bytes within 10 s",
        )),
    }
}
