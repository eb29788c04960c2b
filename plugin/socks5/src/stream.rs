//! Reading and writing whole messages on a stream, never a byte beyond them.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::{HandshakeError, Message, Progress};

/// Spare capacity of the buffer, so that reading never makes it grow.
const SLACK: usize = 64;

/// The number of bytes that are read from a client after it was refused.
const DISCARDED: u64 = 64 * 1024;

/// Reads one message and not a byte more.
pub(crate) async fn read<M, S>(stream: &mut S) -> Result<M, HandshakeError>
where
    M: Message,
    S: AsyncRead + Unpin,
{
    read_after(&[], stream).await
}

/// Reads the rest of a message of which `start` has been read already.
pub(crate) async fn read_after<M, S>(start: &[u8], stream: &mut S) -> Result<M, HandshakeError>
where
    M: Message,
    S: AsyncRead + Unpin,
{
    // Wiped and sized ahead, since it may hold a password.
    let mut buffer = Zeroizing::new(Vec::with_capacity(M::MAX_LENGTH + SLACK));
    buffer.extend_from_slice(start);
    loop {
        match M::decode(&buffer)? {
            Progress::Done(message, _) => return Ok(message),
            Progress::Need(more) => {
                let mut missing = (&mut *stream).take(more as u64);
                if missing.read_to_end(&mut buffer).await? < more {
                    return Err(HandshakeError::Closed);
                }
            }
        }
    }
}

/// Writes one message and flushes.
pub(crate) async fn write<M, S>(stream: &mut S, message: &M) -> Result<(), HandshakeError>
where
    M: Message,
    S: AsyncWrite + Unpin,
{
    let bytes = Zeroizing::new(message.encode());
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

/// Closes our half and reads some of what the other end still sends: closing
/// a TCP connection over unread data would take our last words with it.
pub(crate) async fn discard<S>(stream: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The client is lost already; that this fails too changes nothing.
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(DISCARDED);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    }
}
