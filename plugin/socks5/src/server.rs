//! The server's handshakes: SOCKS5 alone, or SOCKS5, SOCKS4 and HTTP CONNECT
//! on one port.

mod http;
mod socks4;
mod socks5;

use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::http::ConnectResponse;
use crate::stream::write;
use crate::{Credentials, DecodeError, HandshakeError, Reply, Response, Socks4Response, Target};

/// The clients that a server accepts.
#[derive(Clone, Debug)]
pub enum AuthPolicy {
    /// Every client that can reach it.
    Open,
    /// Clients that show this user name and password (RFC 1929; RFC 7617 with
    /// HTTP). SOCKS4 has no passwords: its clients are refused.
    Password(Credentials),
}

/// Runs the server's handshake of SOCKS5 up to the client's request, which
/// must be CONNECT; anything else is answered with 7 (not supported). Not a
/// byte beyond the request is read, so what a hasty client sent after it is
/// still in the stream.
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
    let target = socks5::accept(&mut stream, &[], policy).await?;
    Ok(PendingRequest {
        stream,
        target,
        dialect: Dialect::Socks5,
    })
}

/// As [`accept`], for clients of SOCKS5, SOCKS4, SOCKS4a and HTTP CONNECT
/// alike: the first byte tells them apart. An HTTP request other than CONNECT
/// is answered with 405.
///
/// Where the end of a message is not known ahead (HTTP, SOCKS4), it is read in
/// very small steps; where each of them is dear, give a
/// [`tokio::io::BufStream`].
///
/// # Errors
/// As those of [`accept`]. A client whose message is too long is answered, and
/// then listened to until it closes or has sent another 64 KiB, so that it
/// gets to see the answer.
pub async fn accept_any<S>(
    mut stream: S,
    policy: &AuthPolicy,
) -> Result<PendingRequest<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = [0];
    if stream.read(&mut start).await? == 0 {
        return Err(HandshakeError::Closed);
    }
    let (dialect, target) = match start {
        [5] => (
            Dialect::Socks5,
            socks5::accept(&mut stream, &start, policy).await,
        ),
        [4] => (
            Dialect::Socks4,
            socks4::accept(&mut stream, &start, policy).await,
        ),
        [b'A'..=b'Z'] => (
            Dialect::Http,
            http::accept(&mut stream, &start, policy).await,
        ),
        [found] => return Err(DecodeError::Protocol { found }.into()),
    };
    Ok(PendingRequest {
        stream,
        target: target?,
        dialect,
    })
}

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// SOCKS4 or SOCKS4a.
    Socks4,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socks5 => "SOCKS5",
            Self::Socks4 => "SOCKS4",
            Self::Http => "HTTP CONNECT",
        })
    }
}

/// A client that waits to hear what came of its request. Dropping it closes
/// the stream without an answer.
#[derive(Debug)]
pub struct PendingRequest<S> {
    stream: S,
    target: Target,
    dialect: Dialect,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingRequest<S> {
    /// The destination that the client asks for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The protocol that the client speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Tells the client the outcome, in its own dialect, and gives the stream
    /// back: the tunnel after [`Reply::Succeeded`], otherwise to be closed.
    /// For a target that did not answer in time, say [`Reply::TtlExpired`].
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn reply(mut self, reply: Reply) -> Result<S, HandshakeError> {
        let stream = &mut self.stream;
        match self.dialect {
            Dialect::Socks5 => write(stream, &Response::new(reply)).await?,
            Dialect::Socks4 => {
                let granted = reply == Reply::Succeeded;
                write(stream, &Socks4Response { granted }).await?;
            }
            Dialect::Http => write(stream, &ConnectResponse::new(reply)).await?,
        }
        Ok(self.stream)
    }
}
