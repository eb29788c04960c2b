//! The errors of handshakes, of both sides and all protocols.

use std::io;

use crate::http::RequestError;
use crate::{Command, DecodeError, Method, Reply};

/// Why a handshake did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The stream failed.
    #[error("the stream to the other end failed: {0}")]
    Io(#[from] io::Error),
    /// The other end closed the stream in the middle of the handshake.
    #[error("the other end closed the stream during the handshake")]
    Closed,
    /// The other end sent something else than the protocol.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Client and server have no authentication method in common: the server
    /// wants a password and none was given, or something other than one.
    #[error("client and server have no authentication method in common")]
    NoAcceptableMethod,
    /// The server chose a method that the client had not offered.
    #[error("the SOCKS server chose the authentication method {}, which was not offered", method.0)]
    UnexpectedMethod {
        /// The method.
        method: Method,
    },
    /// User name or password are wrong.
    #[error("user name or password are wrong")]
    AuthFailed,
    /// The client asked for something other than CONNECT.
    #[error("the SOCKS client asked for {command}, which is not supported")]
    UnsupportedCommand {
        /// The command it asked for.
        command: Command,
    },
    /// The SOCKS server would not or could not reach the target.
    #[error("the SOCKS server answered: {reply}")]
    Refused {
        /// Its reason.
        reply: Reply,
    },
    /// The HTTP proxy would not or could not reach the target.
    #[error("the HTTP proxy answered {status}: {reply}")]
    HttpRefused {
        /// The status code.
        status: u16,
        /// The meaning of the status code and of the Proxy-Status field, if
        /// there is one.
        reply: Reply,
    },
    /// HTTP cannot carry this request; nothing has been sent.
    #[error(transparent)]
    Request(#[from] RequestError),
}
