use std::io;

use alknet_handler::ByteStream;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::algorithms::ClientKind;
use crate::transport::Transport;
use crate::{SSH_ID, first_channel};

/// Longest identification line (RFC 4253 section 4.2).
const LONGEST: usize = 255;
/// How the version of our own client begins.
const OURS: &[u8] = b"SSH-2.0-alknet_";

/// What a client's identification line tells.
pub(super) struct Caller {
    pub(super) kind: ClientKind,
    /// It is our own client.
    pub(super) is_ours: bool,
    /// It asks us to open the channel of its first command.
    pub(super) asks_for_channel: bool,
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
        asks_for_channel: theirs.starts_with(OURS)
            && comment(&theirs) == first_channel::ASKED.as_bytes(),
    };
    transport.rewind(theirs, ours.len());
    Ok(caller)
}

/// What stands behind the version.
fn comment(line: &[u8]) -> &[u8] {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut parts = line.trim_ascii_end().splitn(2, |byte| *byte == b' ');
    parts.nth(1).unwrap_or_default()
}
