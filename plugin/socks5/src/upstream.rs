//! The client's side of a proxy whose kind is known only at run time, with one
//! error for all kinds.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::RequestError;
use crate::{Credentials, HandshakeError, Reply, Target};

/// The protocol that a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
}

/// Asks the proxy at the other end of `stream` to connect to `target`; names
/// are left to it to resolve. When this succeeds, `stream` is the tunnel, and
/// not a byte of it has been read. There is no time limit here.
///
/// # Errors
/// One variant for each cause that a caller may want to tell apart.
pub async fn connect<S>(
    stream: &mut S,
    kind: Kind,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let outcome = match kind {
        Kind::Socks5 => crate::connect(stream, target, credentials).await.map(drop),
        Kind::Http => crate::http::connect(stream, target, credentials).await,
    };
    outcome.map_err(|error| name(error, credentials.is_some()))
}

/// Why no tunnel through a proxy was opened. No variant tells the target or the
/// credentials.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The target refused the connection.
    #[error("the target refused the connection, says the proxy")]
    Refused,
    /// The target, or its network, cannot be reached, or its name is unknown.
    #[error("the target cannot be reached, says the proxy")]
    Unreachable,
    /// The target did not answer the proxy in time.
    #[error("the target did not answer in time, says the proxy")]
    TimedOut,
    /// The proxy's rules forbid this target.
    #[error("the proxy does not allow this target")]
    Denied,
    /// The proxy failed, or does not say in what way.
    #[error("the proxy could not connect: {0}")]
    Failed(#[source] HandshakeError),
    /// The proxy asks for credentials, and none were given.
    #[error("the proxy asks for a user name and password, and none are configured")]
    AuthRequired,
    /// The proxy does not take the credentials that were given.
    #[error("the proxy does not accept the user name and password")]
    AuthFailed,
    /// The proxy's protocol has no way to ask this; nothing has been sent.
    #[error(transparent)]
    Request(RequestError),
    /// The other end does not speak the protocol.
    #[error("this is not a proxy of the kind configured: {0}")]
    Protocol(#[source] HandshakeError),
    /// The other end closed the stream in the middle of the handshake.
    #[error("the proxy closed the connection without an answer")]
    Closed,
    /// The stream failed.
    #[error("the connection to the proxy failed: {0}")]
    Io(#[source] io::Error),
}

fn name(error: HandshakeError, credentials_given: bool) -> UpstreamError {
    match error {
        HandshakeError::Refused { reply } | HandshakeError::HttpRefused { reply, .. } => {
            match reply {
                Reply::ConnectionRefused => UpstreamError::Refused,
                Reply::NetworkUnreachable | Reply::HostUnreachable => UpstreamError::Unreachable,
                Reply::TtlExpired => UpstreamError::TimedOut,
                Reply::NotAllowed => UpstreamError::Denied,
                Reply::Succeeded
                | Reply::GeneralFailure
                | Reply::CommandNotSupported
                | Reply::AddressTypeNotSupported => UpstreamError::Failed(error),
            }
        }
        HandshakeError::NoAcceptableMethod if !credentials_given => UpstreamError::AuthRequired,
        HandshakeError::NoAcceptableMethod | HandshakeError::AuthFailed => {
            UpstreamError::AuthFailed
        }
        HandshakeError::Request(error) => UpstreamError::Request(error),
        HandshakeError::Decode(_)
        | HandshakeError::UnexpectedMethod { .. }
        | HandshakeError::UnsupportedCommand { .. } => UpstreamError::Protocol(error),
        HandshakeError::Closed => UpstreamError::Closed,
        HandshakeError::Io(error) => UpstreamError::Io(error),
    }
}
