use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::AdminSocket;
use super::protocol::{FaultReport, MAX_REQUEST, Request, done_line, parse_request, refused_line};
use crate::reload::Reloader;

/// How many may ask at once; more wait.
const MAX_CONNECTIONS: usize = 16;
/// How long a request may take to arrive, or an answer to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until dropped.
pub(crate) async fn serve(socket: AdminSocket, reloader: Arc<Reloader>) {
    let listener = match socket.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin socket cannot be served");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept on the admin socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let reloader = Arc::clone(&reloader);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &reloader).await {
                tracing::debug!(%error, "a connection to the admin socket failed");
            }
            drop(place);
        });
    }
}

async fn converse(mut stream: UnixStream, reloader: &Arc<Reloader>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        tracing::warn!(uid, "a stranger was refused at the admin socket");
        let fault = FaultReport::new("only the node's own user and root may use this socket");
        return say(&mut stream, refused_line(vec![fault])).await;
    }
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(MAX_REQUEST as u64);
        let arrived = timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await;
        if arrived.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() >= MAX_REQUEST {
            let fault = FaultReport::new(format!("a request has at most {MAX_REQUEST} bytes"));
            return say(&mut write, refused_line(vec![fault])).await;
        }
        let answer = match parse_request(&line) {
            Ok(request) => answer(request, reloader).await,
            Err(fault) => refused_line(vec![fault]),
        };
        say(&mut write, answer).await?;
    }
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), line: String) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(line.as_bytes()))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

async fn answer(request: Request, reloader: &Arc<Reloader>) -> String {
    match request {
        Request::Reload { dry_run } => {
            let reloader = Arc::clone(reloader);
            let done = tokio::task::spawn_blocking(move || reloader.reload(dry_run)).await;
            match done {
                Ok(Ok(reloaded)) => done_line(&reloaded),
                Ok(Err(problems)) => refused_line(problems.iter().map(FaultReport::from).collect()),
                Err(_) => refused_line(vec![FaultReport::new(
                    "the reload ended early; a panic is in the node's log",
                )]),
            }
        }
    }
}
