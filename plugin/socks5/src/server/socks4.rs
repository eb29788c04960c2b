//! The server's handshake with a client of SOCKS4 or SOCKS4a.

use tokio::io::{AsyncRead, AsyncWrite};

use super::AuthPolicy;
use crate::stream::{discard, read_after, write};
use crate::{Command, DecodeError, HandshakeError, Socks4Request, Socks4Response, Target};

const REJECTED: Socks4Response = Socks4Response { granted: false };

/// Reads the client's request, of which `start` has been read already.
pub(super) async fn accept<S>(
    stream: &mut S,
    start: &[u8],
    policy: &AuthPolicy,
) -> Result<Target, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let error = match read_after::<Socks4Request, _>(start, stream).await {
        Ok(request) => match judge(request, policy) {
            Ok(target) => return Ok(target),
            Err(error) => error,
        },
        Err(error @ HandshakeError::Decode(_)) => error,
        Err(error) => return Err(error),
    };
    write(stream, &REJECTED).await?;
    if matches!(error, HandshakeError::Decode(DecodeError::TooLong)) {
        discard(stream).await;
    }
    Err(error)
}

fn judge(request: Socks4Request, policy: &AuthPolicy) -> Result<Target, HandshakeError> {
    match policy {
        // A user's name and nothing to prove it is all that SOCKS4 has.
        AuthPolicy::Password(_) => Err(HandshakeError::NoAcceptableMethod),
        AuthPolicy::Open if request.command != Command::Connect => {
            Err(HandshakeError::UnsupportedCommand {
                command: request.command,
            })
        }
        AuthPolicy::Open => Ok(request.target),
    }
}
