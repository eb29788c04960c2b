//! The errors of handlers, streams, the identity store and configurations.

/// Why a handler ended a connection other than normally.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// The connection was closed under the handler.
    #[error("the connection was closed")]
    ConnectionClosed,
    /// A stream failed.
    #[error("stream error: {0}")]
    StreamError(#[from] StreamError),
    /// The peer did not prove who it is.
    #[error("the peer did not authenticate")]
    AuthRequired,
    /// Anything else, described for the operator.
    #[error("{0}")]
    Internal(String),
}

/// Why a stream could not be opened or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The connection is closed; no further stream will come.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// This stream is closed.
    #[error("the stream is closed")]
    StreamClosed,
    /// The peer went silent.
    #[error("timed out")]
    Timeout,
    /// Anything else, described for the operator.
    #[error("{0}")]
    Internal(String),
}

/// An identity had been recorded on the connection before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection already has an identity")]
pub struct IdentityAlreadySet;

/// The identity store could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the identity store could not answer: {0}")]
pub struct IdentityError(pub String);

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct ConfigError {
    /// JSON pointer (RFC 6901) to the fault within the configuration; empty
    /// for the whole.
    pub pointer: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl ConfigError {
    /// An error that is not about one place of the configuration.
    pub fn new(message: impl Into<String>) -> Self {
        Self::at("", message)
    }

    /// An error about one place of the configuration.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl From<std::io::Error> for StreamError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::TimedOut => Self::Timeout,
            std::io::ErrorKind::BrokenPipe => Self::StreamClosed,
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl From<std::io::Error> for HandlerError {
    fn from(error: std::io::Error) -> Self {
        Self::StreamError(error.into())
    }
}
