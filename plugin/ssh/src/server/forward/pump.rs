//! The two ways between a channel and a socket, each with an end of its own.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::socket::Socket;
use crate::connection::queue::ByteQueue;
use crate::server::channel::input::{Event, Input};
use crate::server::channel::output::{self, Source};
use crate::server::session::context::SessionContext;
use crate::server::traffic::Traffic;

/// How a forwarded channel ended.
#[derive(Debug)]
pub(super) enum ForwardEndReason {
    /// Both sides ended in order.
    Finished,
    /// The peer closed the channel, or the session is over.
    Closed,
    /// The socket failed.
    Broken(#[allow(dead_code)] io::Error),
    /// The socket took nothing for too long and held up other channels.
    Stalled,
    /// Nothing went either way for as long as is configured.
    Idle,
    /// The forward is no longer permitted.
    Revoked,
}

/// Carries bytes both ways until both have ended or one thing ends it all, and
/// closes the channel.
pub(super) async fn run(
    input: Input,
    writer: &ChannelWriteHalf<Msg>,
    socket: Socket,
    revoked: CancellationToken,
    shared: &SessionContext,
) -> ForwardEndReason {
    let end = match socket {
        Socket::Tcp(stream) => {
            let (read, write) = stream.into_split();
            carry(input, writer, read, write, revoked, shared).await
        }
        Socket::Unix(stream) => {
            let (read, write) = stream.into_split();
            carry(input, writer, read, write, revoked, shared).await
        }
    };
    let _ = writer.close().await;
    end
}

async fn carry(
    mut input: Input,
    writer: &ChannelWriteHalf<Msg>,
    read: impl Source,
    write: impl AsyncWrite + Unpin,
    revoked: CancellationToken,
    shared: &SessionContext,
) -> ForwardEndReason {
    let queue = input.queue.clone();
    let traffic = Arc::clone(&input.traffic);
    let mut inward = pin!(feed(&queue, write).fuse());
    let both_ways = async {
        let inward = inward.as_mut().map(Ok::<_, io::Error>);
        tokio::try_join!(inward, outward(&read, writer, &traffic))
    };
    let end = tokio::select! {
        outcome = both_ways => match outcome {
            Ok(_) => ForwardEndReason::Finished,
            Err(error) => ForwardEndReason::Broken(error),
        },
        event = watch(&mut input) => event,
        () = revoked.cancelled() => ForwardEndReason::Revoked,
    };
    if matches!(end, ForwardEndReason::Closed)
        && !inward.is_terminated()
        && !shared.over.is_cancelled()
    {
        // The peer may have closed right after its last byte.
        queue.finish();
        let time_limit = shared.active.config.limits.stalled_channel_seconds;
        tokio::select! {
            () = inward => {}
            () = no_progress(&queue, Duration::from_secs(time_limit.into())) => {}
            () = revoked.cancelled() => {}
            () = shared.over.cancelled() => {}
        }
    }
    end
}

/// Writes to the socket what comes in, then ends that way only. A socket that
/// takes no more may still have something to say.
async fn feed(queue: &ByteQueue, mut socket: impl AsyncWrite + Unpin) {
    while let Some(chunk) = queue.pop().await {
        if socket.write_all(&chunk).await.is_err() {
            queue.close();
            return;
        }
    }
    let _ = socket.shutdown().await;
}

async fn outward(
    socket: &impl Source,
    writer: &ChannelWriteHalf<Msg>,
    traffic: &Traffic,
) -> io::Result<()> {
    output::pass(socket, writer, None, &AtomicU64::new(0), traffic).await?;
    writer
        .eof()
        .await
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Follows the channel; ends only when something ends the channel.
async fn watch(input: &mut Input) -> ForwardEndReason {
    loop {
        match input.next().await {
            Event::Signal(_) | Event::Resize(_) => {}
            Event::Closed => return ForwardEndReason::Closed,
            Event::Stalled => return ForwardEndReason::Stalled,
            Event::Idle => return ForwardEndReason::Idle,
        }
    }
}

/// Completes when nothing has been taken from the queue for so long.
async fn no_progress(queue: &ByteQueue, time_limit: Duration) {
    loop {
        let before = queue.taken();
        sleep(time_limit).await;
        if queue.taken() == before {
            return;
        }
    }
}
