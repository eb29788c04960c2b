//! The server's handshake with a client of SOCKS5 (RFC 1928, RFC 1929).

use tokio::io::{AsyncRead, AsyncWrite};

use super::AuthPolicy;
use crate::stream::{read, read_after, write};
use crate::{
    AuthStatus, Command, Credentials, DecodeError, Greeting, HandshakeError, Method, MethodChoice,
    Reply, Request, Response, Target,
};

/// Runs the handshake up to the request; `start` of it has been read already.
pub(super) async fn accept<S>(
    stream: &mut S,
    start: &[u8],
    policy: &AuthPolicy,
) -> Result<Target, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    authenticate(stream, start, policy).await?;
    let request = match read::<Request, _>(stream).await {
        Err(HandshakeError::Decode(error)) => {
            write(stream, &Response::new(answer(error))).await?;
            return Err(error.into());
        }
        request => request?,
    };
    if request.command != Command::Connect {
        write(stream, &Response::new(Reply::CommandNotSupported)).await?;
        return Err(HandshakeError::UnsupportedCommand {
            command: request.command,
        });
    }
    Ok(request.target)
}

async fn authenticate<S>(
    stream: &mut S,
    start: &[u8],
    policy: &AuthPolicy,
) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting: Greeting = read_after(start, stream).await?;
    let wanted = match policy {
        AuthPolicy::Open => Method::NO_AUTH,
        AuthPolicy::Password(_) => Method::PASSWORD,
    };
    if !greeting.methods().contains(&wanted) {
        write(stream, &MethodChoice(Method::NONE_ACCEPTABLE)).await?;
        return Err(HandshakeError::NoAcceptableMethod);
    }
    write(stream, &MethodChoice(wanted)).await?;
    let AuthPolicy::Password(expected) = policy else {
        return Ok(());
    };
    let given: Credentials = read(stream).await?;
    if expected.matches(&given) {
        write(stream, &AuthStatus::Accepted).await
    } else {
        write(stream, &AuthStatus::Refused).await?;
        Err(HandshakeError::AuthFailed)
    }
}

fn answer(error: DecodeError) -> Reply {
    match error {
        DecodeError::Command { .. } => Reply::CommandNotSupported,
        DecodeError::AddressType { .. } => Reply::AddressTypeNotSupported,
        DecodeError::Domain => Reply::HostUnreachable,
        _ => Reply::GeneralFailure,
    }
}
