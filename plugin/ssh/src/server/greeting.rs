use std::io;

use alknet_handler::ByteStream;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::SSH_ID;
use crate::transport::Transport;

/// Longest identification line (RFC 4253 section 4.2).
const LONGEST: usize = 255;
/// Clients that are known to have AES-GCM, by how their version begins.
const HAVE_AES_GCM: &[&[u8]] = &[
    b"SSH-2.0-OpenSSH",
    b"SSH-2.0-alknet",
    b"SSH-2.0-russh",
    b"SSH-2.0-Go",
];

/// Exchanges the identification lines before russh does, because what is to be
/// offered depends on the client; leaves the transport as if nothing had been
/// said. Says whether the client is known to have AES-GCM.
pub(super) async fn exchange<S: ByteStream>(transport: &mut Transport<S>) -> io::Result<bool> {
    let ours = format!("{SSH_ID}\r\n");
    transport.write_all(ours.as_bytes()).await?;
    transport.flush().await?;
    let mut theirs = BytesMut::new();
    while !theirs.contains(&b'\n') && theirs.len() < LONGEST {
        if transport.read_buf(&mut theirs).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let known = HAVE_AES_GCM.iter().any(|name| theirs.starts_with(name));
    transport.rewind(theirs, ours.len());
    Ok(known)
}
