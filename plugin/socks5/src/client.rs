//! The client's handshake of SOCKS5 (RFC 1928, RFC 1929).

use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::{read, write};
use crate::{
    AuthStatus, Command, Credentials, Greeting, HandshakeError, Method, MethodChoice, Reply,
    Request, Response, Target,
};

/// Asks the server at the other end of `stream` to connect to `target`. When
/// this succeeds, `stream` is the tunnel, and not a byte of it has been read.
/// Credentials are sent only if the server asks for them. Gives the address
/// the server says it uses towards the target, which may mean nothing.
///
/// # Errors
/// When the stream fails or ends, the server does not speak SOCKS5, does not
/// let us in, or could not reach the target.
pub async fn connect<S>(
    stream: &mut S,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<Target, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    authenticate(stream, credentials).await?;
    let request = Request {
        command: Command::Connect,
        target: target.clone(),
    };
    write(stream, &request).await?;
    let response: Response = read(stream).await?;
    match response.reply {
        Reply::Succeeded => Ok(response.bound),
        reply => Err(HandshakeError::Refused { reply }),
    }
}

async fn authenticate<S>(
    stream: &mut S,
    credentials: Option<&Credentials>,
) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = match credentials {
        Some(_) => Greeting::new(&[Method::NO_AUTH, Method::PASSWORD]),
        None => Greeting::new(&[Method::NO_AUTH]),
    };
    write(stream, &greeting).await?;
    let MethodChoice(method) = read(stream).await?;
    match (method, credentials) {
        (Method::NO_AUTH, _) => Ok(()),
        (Method::PASSWORD, Some(credentials)) => {
            write(stream, credentials).await?;
            match read(stream).await? {
                AuthStatus::Accepted => Ok(()),
                AuthStatus::Refused => Err(HandshakeError::AuthFailed),
            }
        }
        (Method::NONE_ACCEPTABLE, _) => Err(HandshakeError::NoAcceptableMethod),
        (method, _) => Err(HandshakeError::UnexpectedMethod { method }),
    }
}
