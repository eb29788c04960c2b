/// Why something asked of an SSH server did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's host key is not the one expected.
    #[error("the server's host key is not the one expected")]
    HostKeyRefused,
    /// The server does not accept this user with this key.
    #[error("the server refused the key")]
    AuthenticationFailed,
    /// The server does not open a channel.
    #[error("the server refused to open a channel: {0}")]
    ChannelRefused(String),
    /// The server does not run this command for this user.
    #[error("the server refused to run the command")]
    CommandRefused,
    /// No answer in time, with what was waited for.
    #[error("no answer from the server in time ({0})")]
    Timeout(&'static str),
    /// The connection ended.
    #[error("the connection is closed")]
    Closed,
    /// The protocol or the stream under it failed.
    #[error("the SSH connection failed: {0}")]
    Protocol(#[source] russh::Error),
}

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::UnknownKey => Self::HostKeyRefused,
            russh::Error::ChannelOpenFailure(reason) => Self::ChannelRefused(format!("{reason:?}")),
            russh::Error::Disconnect | russh::Error::SendError | russh::Error::HUP => Self::Closed,
            error => Self::Protocol(error),
        }
    }
}
