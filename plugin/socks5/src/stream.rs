use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::{HandshakeError, Message, Progress};

/// Room that reading to the end wants to find free.
const SLACK: usize = 64;

/// Reads one message and not a byte more.
pub(crate) async fn read<M, S>(stream: &mut S) -> Result<M, HandshakeError>
where
    M: Message,
    S: AsyncRead + Unpin,
{
    // Wiped and sized ahead, since it may hold a password.
    let mut buffer = Zeroizing::new(Vec::with_capacity(M::MAX_LENGTH + SLACK));
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
