//! A TCP connection behind the handler contract: one stream, closed without
//! loss of data.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use alknet_handler::{BoxFuture, BoxStream, Connection, Identity, IdentityAlreadySet, StreamError};
use futures_util::task::AtomicWaker;
use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The time that a peer may go on sending after our side is closed.
const LINGER: Duration = Duration::from_secs(5);
/// The time that a peer may be silent then; for one that never logged in, the
/// longest time in all.
const SILENT_LINGER: Duration = Duration::from_millis(400);

/// A TCP connection as handlers see it: one stream, and nothing after it.
pub(super) struct TcpConnection {
    shared: Arc<Shared>,
    /// Whether the stream was fetched, or can no longer be.
    taken: AtomicBool,
    alpn: Vec<u8>,
    remote_addr: SocketAddr,
    identity: OnceLock<Identity>,
}

impl TcpConnection {
    pub(super) fn new(socket: TcpStream, remote_addr: SocketAddr, alpn: Vec<u8>) -> Self {
        Self {
            shared: Arc::new(Shared {
                socket,
                closed: AtomicBool::new(false),
                reader: AtomicWaker::new(),
            }),
            taken: AtomicBool::new(false),
            alpn,
            remote_addr,
            identity: OnceLock::new(),
        }
    }

    /// Closes our side and waits, within bounds, until the peer has closed
    /// its own or falls silent. Closing a socket in which bytes of the peer lie unread resets
    /// the connection (RFC 9293 section 3.6.1), and a reset takes from the
    /// peer what it has not read yet; so they are read, and thrown away.
    pub(super) async fn finish(&self) {
        self.close(0, "");
        let time = match self.identity.get() {
            Some(_) => LINGER,
            None => SILENT_LINGER,
        };
        let _ = timeout(time, self.shared.discard()).await;
    }
}

impl Connection for TcpConnection {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        let stream = if self.taken.swap(true, Ordering::AcqRel) {
            Err(StreamError::ConnectionClosed)
        } else {
            Ok(Box::new(TcpByteStream(Arc::clone(&self.shared))) as BoxStream)
        };
        Box::pin(std::future::ready(stream))
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(std::future::ready(Err(StreamError::Internal(
            "a TCP connection has one stream, which its client opens".to_owned(),
        ))))
    }

    fn remote_alpn(&self) -> Vec<u8> {
        self.alpn.clone()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.remote_addr)
    }

    fn set_identity(&self, identity: Identity) -> Result<(), IdentityAlreadySet> {
        self.identity.set(identity).map_err(|_| IdentityAlreadySet)
    }

    /// Closes the connection. TCP does not carry the code and the reason.
    fn close(&self, _code: u32, _reason: &str) {
        self.taken.store(true, Ordering::Release);
        self.shared.closed.store(true, Ordering::Release);
        // It fails only where the connection is gone.
        let _ = self.shared.end_of_ours();
        self.shared.reader.wake();
    }
}

struct Shared {
    socket: TcpStream,
    /// Whether the connection is closed as a whole, so that what the peer still
    /// sends is thrown away.
    closed: AtomicBool,
    reader: AtomicWaker,
}

impl Shared {
    fn end_of_ours(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.socket, Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    async fn discard(&self) {
        // Not in the future, which lives as long as the connection.
        let mut waste = vec![0; 4096];
        while let Ok(Ok(())) = timeout(SILENT_LINGER, self.socket.readable()).await {
            match self.socket.try_read(&mut waste) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// The stream of a TCP connection.
///
/// `poll_shutdown` ends our side; the system sees to it that the peer gets
/// what was written before. Reading goes on until the peer ends its side.
struct TcpByteStream(Arc<Shared>);

impl AsyncRead for TcpByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = &self.0;
        shared.reader.register(cx.waker());
        loop {
            if shared.closed.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            ready!(shared.socket.poll_read_ready(cx))?;
            match shared.socket.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TcpByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.end_of_ours())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        let (socket, addr) = accepted.unwrap();
        let connection = TcpConnection::new(socket, addr, b"test".to_vec());
        (connection, client.unwrap())
    }

    #[tokio::test]
    async fn there_is_one_stream_and_then_none() {
        let (connection, mut client) = pair().await;
        assert!(connection.open_bi().await.is_err());
        let mut stream = connection.accept_bi().await.unwrap();
        let again = connection.accept_bi().await.err();
        assert_eq!(again, Some(StreamError::ConnectionClosed));
        client.write_all(b"to and").await.unwrap();
        let mut read = [0; 6];
        stream.read_exact(&mut read).await.unwrap();
        stream.write_all(b" fro").await.unwrap();
        stream.shutdown().await.unwrap();
        // Our end is announced; the peer's bytes still arrive.
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b" fro");
        client.write_all(b"later").await.unwrap();
        drop(client);
        heard.clear();
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"later");
    }

    #[tokio::test]
    async fn closing_wakes_the_reader_and_ends_the_stream() {
        let (connection, mut client) = pair().await;
        let mut stream = connection.accept_bi().await.unwrap();
        let reader = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        connection.close(0, "enough");
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert!(connection.accept_bi().await.is_err());
    }

    #[tokio::test]
    async fn what_was_written_last_arrives_though_the_peer_went_on_sending() {
        let (connection, mut client) = pair().await;
        let mut stream = connection.accept_bi().await.unwrap();
        // Nobody on our side reads this.
        client.write_all(&[7; 100_000]).await.unwrap();
        stream.write_all(b"goodbye").await.unwrap();
        drop(stream);
        let finished = tokio::spawn(async move { connection.finish().await });
        let mut heard = Vec::new();
        client.write_all(&[7; 1000]).await.unwrap();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"goodbye");
        drop(client);
        finished.await.unwrap();
    }
}
