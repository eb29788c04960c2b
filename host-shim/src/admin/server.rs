use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::AdminSocket;
use super::desk::Desk;
use super::protocol::{FaultReport, MAX_REQUEST, parse_request, refused_line};

/// How many may ask at once; more wait.
const MAX_CONNECTIONS: usize = 16;
/// How long a request may take to arrive, or an answer to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until dropped.
pub(crate) async fn serve(socket: AdminSocket, desk: Arc<Desk>) {
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
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &desk).await {
                tracing::debug!(%error, "a connection to the admin socket failed");
            }
            drop(place);
        });
    }
}

async fn converse(mut stream: UnixStream, desk: &Arc<Desk>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        tracing::warn!(uid, "a stranger was refused at the admin socket");
        let fault = FaultReport::new("only the node's own user and root may use this socket");
        return say(&mut stream, refused_line(vec![fault])).await;
    }
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut patient = false;
    loop {
        line.clear();
        let mut limited = (&mut read).take(MAX_REQUEST as u64);
        let reading = limited.read_until(b'\n', &mut line);
        let arrived = if patient {
            reading.await
        } else {
            timeout(PATIENCE, reading)
                .await
                .map_err(|_| io::ErrorKind::TimedOut)?
        };
        if arrived? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() >= MAX_REQUEST {
            let fault = FaultReport::new(format!("a request has at most {MAX_REQUEST} bytes"));
            return say(&mut write, refused_line(vec![fault])).await;
        }
        let answer = match parse_request(&line) {
            Ok(request) => Desk::answer(desk, request).await,
            Err(fault) => refused_line(vec![fault]),
        };
        say(&mut write, answer).await?;
        // Who asked for the node's end may wait for it.
        patient = desk.is_ending();
    }
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), line: String) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(line.as_bytes()))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
