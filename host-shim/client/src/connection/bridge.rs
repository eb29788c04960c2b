//! The bytes of `alknet connect`, carried between standard input and output
//! and the node.

use std::io;
use std::pin::pin;

use alknet_text::{visible, visible_bytes};
use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::console::stdio::{Input, Output};

/// Carries bytes both ways until the node ends its side.
///
/// The end of our input is passed on, and the node's answer still awaited. The
/// end of the node's side ends it all: ssh waits for its ProxyCommand to exit.
pub(crate) async fn run(
    input: &Input,
    output: &Output,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), BridgeError> {
    let upload = upload(input, &mut send);
    both_ways(upload, download(output, &mut recv), output).await
}

/// Carries bytes both ways over the two halves of any other stream, until the node
/// ends its side. `lost` makes an error of why reading failed.
pub(crate) async fn run_halves(
    input: &Input,
    output: &Output,
    mut send: impl AsyncWrite + Unpin,
    mut recv: impl AsyncRead + Unpin,
    lost: impl Fn(io::Error) -> BridgeError,
) -> Result<(), BridgeError> {
    let upload = async {
        loop {
            let data = input.read().await.map_err(BridgeError::Input)?;
            // That the node wants no more is for the reading side to say.
            if data.is_empty() || send.write_all(&data).await.is_err() {
                let _ = send.shutdown().await;
                return Ok(());
            }
        }
    };
    let download = async {
        loop {
            let mut data = BytesMut::with_capacity(MOST_READ);
            let read = recv.read_buf(&mut data).await.map_err(&lost)?;
            if read == 0 {
                return Ok(());
            }
            let written = output.write_all(&mut [data.freeze()]).await;
            written.map_err(BridgeError::from_write)?;
        }
    };
    both_ways(upload, download, output).await
}

/// Completes with the download; the upload may end before it.
async fn both_ways(
    upload: impl Future<Output = Result<(), BridgeError>>,
    download: impl Future<Output = Result<(), BridgeError>>,
    output: &Output,
) -> Result<(), BridgeError> {
    let (mut upload, mut download) = (pin!(upload), pin!(download));
    let mut uploading = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut download => return outcome,
            outcome = &mut upload, if uploading => {
                outcome?;
                uploading = false;
            }
            // With its input closed too, ssh is gone and the node may not know.
            () = output.reader_gone(), if !uploading => return Err(BridgeError::ReaderGone),
        }
    }
}

/// The most bytes that are read at a time.
const MOST_READ: usize = 96 * 1024;

/// Why the bytes stopped before their end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
    #[error("cannot write standard output: {0}")]
    Output(#[source] io::Error),
    #[error("nobody reads standard output any more")]
    ReaderGone,
    #[error("the node broke off the stream (code {code})")]
    Reset { code: u64 },
    #[error("the node closed the connection{}", because(.reason))]
    Closed { reason: String },
    #[error("lost the connection: the node has restarted")]
    Restarted,
    #[error("lost the connection: nothing heard from the node for too long")]
    Silence,
    #[error("lost the connection: {0}")]
    Tcp(#[source] io::Error),
    #[error("lost the connection: {0}")]
    Iroh(String),
    #[error("lost the connection: {}", visible(&.0.to_string()))]
    Lost(#[source] ReadError),
}

impl BridgeError {
    fn from_write(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Output(error)
        }
    }

    pub(crate) fn from_read(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset {
                code: code.into_inner(),
            },
            ReadError::ConnectionLost(ConnectionError::ApplicationClosed(close)) => Self::Closed {
                reason: visible_bytes(&close.reason),
            },
            // We close none that is carried, but one that is silent.
            ReadError::ConnectionLost(
                ConnectionError::TimedOut | ConnectionError::LocallyClosed,
            ) => Self::Silence,
            ReadError::ConnectionLost(ConnectionError::Reset) => Self::Restarted,
            error => Self::Lost(error),
        }
    }
}

/// Fragments taken from the connection, and written, at a time: about 90 KiB
/// at the usual packet size.
const FRAGMENTS: usize = 64;

async fn upload(input: &Input, send: &mut SendStream) -> Result<(), BridgeError> {
    loop {
        let data = input.read().await.map_err(BridgeError::Input)?;
        if data.is_empty() {
            // It only fails when the node has ended the stream already.
            let _ = send.finish();
            return Ok(());
        }
        match send.write_chunk(data).await {
            Ok(()) => {}
            // The node wants no more of it, which is its right.
            Err(WriteError::Stopped(_)) => return Ok(()),
            // The reading side has the last bytes and says what happened.
            Err(_) => return Ok(()),
        }
    }
}

async fn download(output: &Output, recv: &mut RecvStream) -> Result<(), BridgeError> {
    let mut chunks = [const { Bytes::new() }; FRAGMENTS];
    loop {
        let filled = recv.read_chunks(&mut chunks).await;
        let Some(filled) = filled.map_err(BridgeError::from_read)? else {
            return Ok(());
        };
        let chunks = chunks.get_mut(..filled).unwrap_or_default();
        let written = output.write_all(chunks).await;
        written.map_err(BridgeError::from_write)?;
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}
