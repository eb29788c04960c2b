//! The serving of all streams of a connection, each in a task of its own.

use std::io;

use alknet_handler::{BoxStream, HandlerError, StreamError};
use tokio::task::JoinSet;

use crate::Peer;

/// Serves each stream that the peer opens in a task of its own, until the
/// connection is closed and the last of them has ended. A stream that fails ends
/// alone. Dropping the future ends them all.
///
/// # Errors
/// When the connection failed, rather than being closed.
pub async fn each_stream<F>(
    peer: Peer,
    mut serve: impl FnMut(BoxStream) -> F + Send,
) -> Result<(), HandlerError>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut streams = JoinSet::new();
    let outcome = loop {
        match peer.accept_bi().await {
            Ok(stream) => {
                let served = serve(stream);
                streams.spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(target: "stream", %error, "a stream failed");
                    }
                });
            }
            Err(StreamError::ConnectionClosed) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
        // Those that have ended are forgotten.
        while streams.try_join_next().is_some() {}
    };
    while streams.join_next().await.is_some() {}
    outcome
}
