//! The client's handshake of HTTP CONNECT (RFC 9110 section 9.3.6).

use tokio::io::{AsyncRead, AsyncWrite};

use super::{ConnectRequest, ConnectResponse};
use crate::stream::{read, write};
use crate::{Credentials, DecodeError, HandshakeError, Target};

/// The most interim answers (status 100 to 199) that are read before the true
/// one.
const MAX_INTERIM: usize = 8;

/// Asks the HTTP proxy at the other end of `stream` for a tunnel to `target`.
/// When this succeeds, `stream` is the tunnel, and not a byte of it has been
/// read. Credentials are sent, as Basic, with the request, so give them only
/// for a proxy they are meant for.
///
/// The head is read in very small steps, in order to take nothing beyond it;
/// where each of them is dear, give a [`tokio::io::BufStream`].
///
/// # Errors
/// When the stream fails or ends, the proxy does not speak HTTP/1, does not let
/// us in ([`HandshakeError::AuthFailed`], or
/// [`HandshakeError::NoAcceptableMethod`] if no credentials were given), or
/// could not reach the target ([`HandshakeError::HttpRefused`]).
pub async fn connect<S>(
    stream: &mut S,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = ConnectRequest::new(target.clone(), credentials.cloned())?;
    write(stream, &request).await?;
    for _ in 0..=MAX_INTERIM {
        let ConnectResponse { status, reply } = read(stream).await?;
        return match status {
            101 => Err(DecodeError::HttpHead.into()),
            100..=199 => continue,
            200..=299 => Ok(()),
            407 if credentials.is_some() => Err(HandshakeError::AuthFailed),
            407 => Err(HandshakeError::NoAcceptableMethod),
            _ => Err(HandshakeError::HttpRefused { status, reply }),
        };
    }
    Err(DecodeError::HttpHeadTooLong.into())
}
