//! The server's handshake with a client of HTTP CONNECT.

use tokio::io::{AsyncRead, AsyncWrite};

use super::AuthPolicy;
use crate::http::{ConnectRequest, ConnectResponse};
use crate::stream::{discard, read_after, write};
use crate::{DecodeError, HandshakeError, Target};

/// Reads the client's request, of which `start` has been read already.
pub(super) async fn accept<S>(
    stream: &mut S,
    start: &[u8],
    policy: &AuthPolicy,
) -> Result<Target, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = match read_after::<ConnectRequest, _>(start, stream).await {
        Err(HandshakeError::Decode(error)) => {
            if let Some(answer) = answer(error) {
                write(stream, &answer).await?;
            }
            if error == DecodeError::HttpHeadTooLong {
                discard(stream).await;
            }
            return Err(error.into());
        }
        request => request?,
    };
    if let AuthPolicy::Password(expected) = policy {
        let error = match request.credentials() {
            Some(given) if expected.matches(given) => return Ok(request.target().clone()),
            Some(_) => HandshakeError::AuthFailed,
            None => HandshakeError::NoAcceptableMethod,
        };
        write(stream, &ConnectResponse::AUTHENTICATE).await?;
        return Err(error);
    }
    Ok(request.target().clone())
}

/// The answer to a client whose request could not be read; `None` where it does
/// not speak HTTP.
fn answer(error: DecodeError) -> Option<ConnectResponse> {
    match error {
        DecodeError::HttpMethod => Some(ConnectResponse::NOT_CONNECT),
        DecodeError::HttpHeadTooLong => Some(ConnectResponse::TOO_LONG),
        DecodeError::HttpHead | DecodeError::HttpTarget => Some(ConnectResponse::BAD_REQUEST),
        _ => None,
    }
}
