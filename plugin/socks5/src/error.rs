use std::io;

use crate::{Command, DecodeError, Method, Reply};

/// Why a handshake did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The stream failed.
    #[error("the SOCKS stream failed: {0}")]
    Io(#[from] io::Error),
    /// The other end closed the stream in the middle of the handshake.
    #[error("the other end closed the stream during the SOCKS handshake")]
    Closed,
    /// The other end sent something that is not SOCKS5.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Client and server have no authentication method in common.
    #[error("client and server have no SOCKS authentication method in common")]
    NoAcceptableMethod,
    /// The server chose a method that the client had not offered.
    #[error("the SOCKS server chose the authentication method {}, which was not offered", method.0)]
    UnexpectedMethod {
        /// The method.
        method: Method,
    },
    /// User name or password are wrong.
    #[error("SOCKS user name or password are wrong")]
    AuthFailed,
    /// The client asked for something other than CONNECT.
    #[error("the SOCKS client asked for {command}, which is not supported")]
    UnsupportedCommand {
        /// What it asked for.
        command: Command,
    },
    /// The server would not or could not reach the target.
    #[error("the SOCKS server answered: {reply}")]
    Refused {
        /// Its reason.
        reply: Reply,
    },
}
