//! The copy of bytes between the two ends of a forwarded connection.

use std::io;

use alknet_ssh::client::ChannelStream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// One end of a forwarded connection.
pub(crate) trait End: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has the stream's close look like a failure rather than an orderly end.
    fn break_off(&self) {}
}

pub(crate) type BoxEnd = Box<dyn End>;

impl End for TcpStream {
    fn break_off(&self) {
        // Closing now resets the connection (RFC 9293 section 3.10.4).
        let _ = self.set_zero_linger();
    }
}

impl End for UnixStream {}

impl End for ChannelStream {}

const BUFFER: usize = 64 << 10;

/// Carries bytes both ways, each direction to its own end.
///
/// When the way between the two breaks, so does the local end: whoever reads
/// there must not take a part for the whole.
pub(crate) async fn carry(local: BoxEnd, remote: BoxEnd) {
    let (mut local_reader, mut local_writer) = tokio::io::split(local);
    let (mut remote_reader, mut remote_writer) = tokio::io::split(remote);
    let up = async {
        match pass(&mut local_reader, &mut remote_writer).await {
            // What the far end still has to say is wanted all the same.
            Ok(()) | Err(Broken::Writing) => Ok(()),
            Err(Broken::Reading) => Err(()),
        }
    };
    let down = async {
        let passed = pass(&mut remote_reader, &mut local_writer).await;
        passed.map_err(|_| ())
    };
    if tokio::try_join!(up, down).is_err() {
        local_reader.unsplit(local_writer).break_off();
    }
}

/// Which side a direction failed at.
enum Broken {
    Reading,
    Writing,
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| Broken::Reading)?;
        let Some(data @ [_, ..]) = buffer.get(..length) else {
            break;
        };
        to.write_all(data).await.map_err(|_| Broken::Writing)?;
    }
    to.shutdown().await.map_err(|_| Broken::Writing)
}

/// Ends a stream whose other end is to hear our last words before it is told
/// that it is closed.
pub(crate) async fn close_after_words(mut stream: BoxEnd) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(WORTH_HEARING);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

/// The most bytes that are read before a close: closing a TCP connection over
/// unread bytes would discard our last bytes.
const WORTH_HEARING: u64 = 64 << 10;
