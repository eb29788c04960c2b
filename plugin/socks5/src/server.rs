use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::{read, write};
use crate::{
    AuthStatus, Command, Credentials, DecodeError, Greeting, HandshakeError, Method, MethodChoice,
    Reply, Request, Response, Target,
};

/// Whom a server lets in.
#[derive(Clone, Debug)]
pub enum AuthPolicy {
    /// Everyone who can reach it.
    Open,
    /// Who knows this user name and password (RFC 1929).
    Password(Credentials),
}

/// Runs the server's handshake up to the client's request, which must be
/// CONNECT; anything else is answered with 7 (not supported). Not a byte
/// beyond the request is read, so what a hasty client sent after it is still
/// in the stream.
///
/// # Errors
/// When the stream fails or ends, the client does not speak SOCKS5, may not
/// come in, or asks for something other than CONNECT. As far as the protocol
/// has an answer for it, the client has got it by then.
pub async fn accept<S>(
    mut stream: S,
    policy: &AuthPolicy,
) -> Result<PendingRequest<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    authenticate(&mut stream, policy).await?;
    let request = match read::<Request, _>(&mut stream).await {
        Err(HandshakeError::Decode(error)) => {
            write(&mut stream, &Response::new(answer(error))).await?;
            return Err(error.into());
        }
        request => request?,
    };
    if request.command != Command::Connect {
        write(&mut stream, &Response::new(Reply::CommandNotSupported)).await?;
        return Err(HandshakeError::UnsupportedCommand {
            command: request.command,
        });
    }
    Ok(PendingRequest {
        stream,
        target: request.target,
    })
}

/// A client that waits to hear what came of its request. Dropping it closes
/// the stream without an answer.
#[derive(Debug)]
pub struct PendingRequest<S> {
    stream: S,
    target: Target,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingRequest<S> {
    /// Where the client wants to go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Tells the client the outcome and gives the stream back: the tunnel
    /// after [`Reply::Succeeded`], otherwise to be closed.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn reply(mut self, reply: Reply) -> Result<S, HandshakeError> {
        write(&mut self.stream, &Response::new(reply)).await?;
        Ok(self.stream)
    }
}

async fn authenticate<S>(stream: &mut S, policy: &AuthPolicy) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting: Greeting = read(stream).await?;
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
