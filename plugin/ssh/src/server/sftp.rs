//! File transfer on a channel.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use alknet_ssh_config::Sftp;
use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;

use super::access::Grant;
use super::channel::{Event, Input, close_with_words, finish};
use super::session::Shared;
use super::traffic::Traffic;
use crate::sftp::{Fault, Settings, Sink, serve};

const REVOKED: &str = "alknet: file transfer was ended: it is no longer permitted\r\n";
const IDLE: &str = "alknet: file transfer was ended: nothing was transferred for too long\r\n";
const STALLED: &str = "alknet: file transfer was ended: its answers were not read and its \
                       requests held up other channels\r\n";

/// Serves file transfer until the peer has finished, or may no more.
pub(super) async fn run(
    grant: Grant,
    mut input: Input,
    writer: &ChannelWriteHalf<Msg>,
    shared: &Arc<Shared>,
) {
    let queue = input.queue.clone();
    let files = Arc::clone(&shared.files);
    let sink = Counted {
        writer,
        traffic: Arc::clone(&input.traffic),
    };
    let end = tokio::select! {
        outcome = serve(settings(shared), files, &queue, &sink) => End::Served(outcome),
        end = watch(&mut input) => end,
        () = grant.revoked() => End::Cut(REVOKED),
    };
    // Lets the session go on, whatever still comes.
    drop(input);
    match end {
        End::Served(Ok(())) => finish(writer, 0).await,
        End::Served(Err(fault)) => {
            match fault {
                Fault::Root(_) | Fault::Internal => {
                    let root = root(&shared.active.config.services.sftp);
                    tracing::warn!(%fault, root, "file transfer failed; see /services/sftp/root");
                }
                _ => tracing::debug!(%fault, "file transfer failed"),
            }
            close_with_words(writer, &format!("alknet: {fault}\r\n")).await;
        }
        End::Cut(why) => close_with_words(writer, why).await,
        End::Closed => {}
    }
}

enum End {
    Served(Result<(), Fault>),
    Closed,
    /// We end it, and say why.
    Cut(&'static str),
}

/// Takes in what comes, until there is no sense in going on.
async fn watch(input: &mut Input) -> End {
    loop {
        match input.next().await {
            Event::Closed => return End::Closed,
            Event::Stalled => return End::Cut(STALLED),
            Event::Idle => return End::Cut(IDLE),
            Event::Signal(_) | Event::Resize(_) => {}
        }
    }
}

fn settings(shared: &Shared) -> Settings {
    let sftp = &shared.active.config.services.sftp;
    let account = &shared.origin.account;
    Settings {
        root: root(sftp).to_owned(),
        read_only: sftp.read_only,
        max_open_files: sftp.max_open_files,
        account: account.name.as_bytes().to_vec(),
        home: account.home.as_os_str().as_bytes().to_vec(),
    }
}

/// Without one, what the node's account sees; [`Access`](super::access::Access)
/// says to whom that is open.
fn root(sftp: &Sftp) -> &str {
    sftp.root.as_deref().unwrap_or("/")
}

/// A channel whose answers count as its traffic.
struct Counted<'a> {
    writer: &'a ChannelWriteHalf<Msg>,
    traffic: Arc<Traffic>,
}

impl Sink for Counted<'_> {
    async fn send(&self, bytes: Bytes) -> io::Result<()> {
        let length = bytes.len();
        let sent = self.writer.data_bytes(bytes).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.traffic.sent(length);
        Ok(())
    }
}
