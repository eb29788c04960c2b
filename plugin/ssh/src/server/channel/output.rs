//! Passes what a pipe or a terminal gives on to an SSH channel, at the pace of
//! the peer's window (RFC 4254, section 5.2).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use futures_util::FutureExt;
use pty_process::OwnedReadPty;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{tcp, unix};

use crate::server::process::is_hung_up;
use crate::server::traffic::Traffic;

/// The bytes asked for at once: what a pipe holds.
const READ: usize = 64 * 1024;
/// What the system gives of a terminal's output at once, at most.
const TERMINAL_READ: usize = 4 * 1024;

/// Something that says when it can be read, and needs no buffer until then.
pub(crate) trait Source {
    async fn readable(&self) -> io::Result<()>;
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize>;
}

/// Passes all there is on to the channel; the peer's window sets the pace.
/// `steps` is odd while the peer has still to take what was read; `traffic`
/// counts what it has taken.
///
/// # Errors
/// When reading fails, or the session is over.
pub(crate) async fn pass(
    source: &impl Source,
    writer: &ChannelWriteHalf<Msg>,
    extended: Option<u32>,
    steps: &AtomicU64,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        source.readable().await?;
        buffer.reserve(READ);
        match source.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Idle channels keep no buffer.
                buffer = BytesMut::new();
                continue;
            }
            Err(error) => return Err(error),
        }
        send(buffer.split(), writer, extended, steps, traffic).await?;
    }
}

/// Passes a terminal's output on, which comes in small pieces.
///
/// # Errors
/// As [`pass`]; that nobody uses the terminal any more is its end.
pub(crate) async fn pass_terminal(
    terminal: &mut OwnedReadPty,
    writer: &ChannelWriteHalf<Msg>,
    steps: &AtomicU64,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(TERMINAL_READ);
        let mut read = terminal.read_buf(&mut buffer).await;
        // What is there already goes along.
        while matches!(read, Ok(1..)) && buffer.len() < READ {
            buffer.reserve(TERMINAL_READ);
            match terminal.read_buf(&mut buffer).now_or_never() {
                Some(more) => read = more,
                None => break,
            }
        }
        if !buffer.is_empty() {
            send(buffer.split(), writer, None, steps, traffic).await?;
        }
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_hung_up(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn send(
    chunk: BytesMut,
    writer: &ChannelWriteHalf<Msg>,
    extended: Option<u32>,
    steps: &AtomicU64,
    traffic: &Traffic,
) -> io::Result<()> {
    steps.fetch_add(1, Ordering::Relaxed);
    let chunk = chunk.freeze();
    let length = chunk.len();
    traffic.room(length).await;
    let sent = match extended {
        None => writer.data_bytes(chunk).await,
        Some(code) => writer.extended_data_bytes(code, chunk).await,
    };
    steps.fetch_add(1, Ordering::Relaxed);
    sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
    traffic.sent(length);
    Ok(())
}

impl Source for pipe::Receiver {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

impl Source for tcp::OwnedReadHalf {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

impl Source for unix::OwnedReadHalf {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}
