use std::io;
use std::pin::pin;

use alknet_text::{visible, visible_bytes};
use bytes::Bytes;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, WriteError};

use crate::stdio::{Input, Output};

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
    let mut upload = pin!(upload(input, &mut send));
    let mut download = pin!(download(output, &mut recv));
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
    #[error("lost the connection: {}", visible(&.0.to_string()))]
    Lost(#[source] ReadError),
}

impl BridgeError {
    pub(crate) fn from_read(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset {
                code: code.into_inner(),
            },
            ReadError::ConnectionLost(ConnectionError::ApplicationClosed(close)) => Self::Closed {
                reason: visible_bytes(&close.reason),
            },
            ReadError::ConnectionLost(ConnectionError::TimedOut) => Self::Silence,
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
        output.write_all(chunks).await.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                BridgeError::ReaderGone
            } else {
                BridgeError::Output(error)
            }
        })?;
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}
