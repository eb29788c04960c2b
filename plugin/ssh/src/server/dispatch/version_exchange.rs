//! The version exchange (RFC 4253 section 4.2), and what it tells about the
//! client.

use std::io;
use std::time::Duration;

use alknet_handler::ByteStream;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::connection::algorithms::ClientKind;
use crate::connection::kexinit::{KexInitError, Proposal};
use crate::connection::transport::Transport;
use crate::connection::{SSH_ID, server_opened_channel};

/// Longest identification line (RFC 4253 section 4.2).
const LONGEST: usize = 255;
/// The time that a client has for its proposal while it does not have ours. To
/// one that waits for ours, the offer follows from its version line.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The beginning of our own client's version line.
const OURS: &[u8] = b"SSH-2.0-alknet_";

/// What a client's version line and proposal tell.
pub(crate) struct ClientVersion {
    pub(crate) kind: ClientKind,
    /// Whether it is our own client.
    pub(crate) is_ours: bool,
    /// Whether it asks the server to open the channel of its first command.
    pub(crate) asks_for_channel: bool,
}

/// Exchanges the identification lines before russh does and looks at what the
/// client proposes, because what is to be offered depends on it; leaves the
/// transport as if nothing had been said. Our own client is known to have what
/// we offer, and is spared the wait.
pub(crate) async fn exchange<S: ByteStream>(
    transport: &mut Transport<S>,
) -> io::Result<ClientVersion> {
    let ours = format!("{SSH_ID}\r\n");
    transport.write_all(ours.as_bytes()).await?;
    transport.flush().await?;
    let mut theirs = BytesMut::new();
    while !theirs.contains(&b'\n') && theirs.len() < LONGEST {
        if transport.read_buf(&mut theirs).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let is_ours = theirs.starts_with(OURS);
    let mut client_version = ClientVersion {
        kind: ClientKind::of(&theirs),
        is_ours,
        asks_for_channel: is_ours && comment(&theirs) == server_opened_channel::ASKED.as_bytes(),
    };
    if !is_ours {
        let proposal = timeout(PROPOSAL_TIMEOUT, proposal(transport, &mut theirs)).await;
        if let Ok(proposal) = proposal
            && let Some(proposal) = proposal?
        {
            client_version.kind = ClientKind::of_proposal(&proposal);
        }
    }
    transport.rewind(theirs, ours.len());
    Ok(client_version)
}

/// Reads on behind the identification line, up to the end of the client's
/// proposal; `None` when something else comes, which is for russh to refuse.
async fn proposal<S: ByteStream>(
    transport: &mut Transport<S>,
    theirs: &mut BytesMut,
) -> io::Result<Option<Proposal>> {
    loop {
        let line = theirs.iter().position(|byte| *byte == b'\n');
        let packet = line.and_then(|end| theirs.get(end + 1..));
        match packet.map(Proposal::read) {
            Some(Ok(None)) => {}
            Some(Ok(proposal)) => return Ok(proposal),
            Some(Err(KexInitError)) | None => return Ok(None),
        }
        if transport.read_buf(theirs).await? == 0 {
            return Ok(None);
        }
    }
}

/// The comment behind the version in an identification line.
fn comment(line: &[u8]) -> &[u8] {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut parts = line.trim_ascii_end().splitn(2, |byte| *byte == b' ');
    parts.nth(1).unwrap_or_default()
}
