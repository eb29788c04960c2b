use std::io;

use alknet_handler::ByteStream;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SSH_ID;
use crate::algorithms::ClientKind;
use crate::transport::Transport;

/// Longest identification line (RFC 4253 section 4.2).
const LONGEST: usize = 255;
/// How the version of our own client begins.
const OURS: &[u8] = b"SSH-2.0-alknet_";

/// What a client's identification line tells.
pub(super) struct Caller {
    pub(super) kind: ClientKind,
    /// It is our own client.
    pub(super) is_ours: bool,
}

/// Exchanges the identification lines before russh does, because what is to be
/// offered depends on the client; leaves the transport as if nothing had been
/// said.
pub(super) async fn exchange<S: ByteStream>(transport: &mut Transport<S>) -> io::Result<Caller> {
    let ours = format!("{SSH_ID}\r\n");
    transport.write_all(ours.as_bytes()).await?;
    transport.flush().await?;
    let mut theirs = BytesMut::new();
    while !theirs.contains(&b'\n') && theirs.len() < LONGEST {
        if transport.read_buf(&mut theirs).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let caller = Caller {
        kind: ClientKind::of(&theirs),
        is_ours: theirs.starts_with(OURS),
    };
    transport.rewind(theirs, ours.len());
    Ok(caller)
}
