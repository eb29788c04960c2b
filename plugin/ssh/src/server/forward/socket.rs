//! The target's end of a forwarded channel: a TCP or Unix socket.

use tokio::net::{TcpStream, UnixStream};

/// The far end of a forwarded channel.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        // What is written was written to be sent. Without this, a keystroke
        // waits for the acknowledgement of the one before it; where it cannot
        // be had, that is all there is to it.
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
