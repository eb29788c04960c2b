use std::io;

use alknet_handler::ByteStream;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SSH_ID;
use crate::algorithms::ClientKind;
use crate::transport::Transport;

/// Longest identification line (RFC 4253 section 4.2).
const LONGEST: usize = 255;

/// Exchanges the identification lines before russh does, because what is to be
/// offered depends on the client; leaves the transport as if nothing had been
/// said. Says what is known of the client.
pub(super) async fn exchange<S: ByteStream>(
    transport: &mut Transport<S>,
) -> io::Result<ClientKind> {
    let ours = format!("{SSH_ID}\r\n");
    transport.write_all(ours.as_bytes()).await?;
    transport.flush().await?;
    let mut theirs = BytesMut::new();
    while !theirs.contains(&b'\n') && theirs.len() < LONGEST {
        if transport.read_buf(&mut theirs).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let client = ClientKind::of(&theirs);
    transport.rewind(theirs, ours.len());
    Ok(client)
}
