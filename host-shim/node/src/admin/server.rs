//! The server of the admin socket: who may ask, and how many at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alknet_monitor::Whose;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, timeout};

use super::AdminSocket;
use super::protocol::{MAX_REQUEST, parse_request, refused_line};
use super::service::AdminService;
use crate::config::problem::FaultReport;
use crate::state::StateDir;

/// The most connections that are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// The time that a request may take to arrive, and an answer to leave.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which it is checked that the socket's file exists.
const LOOK: Duration = Duration::from_secs(2);
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until dropped. A socket that was removed is made again.
pub(crate) async fn serve(mut socket: AdminSocket, state: StateDir, service: Arc<AdminService>) {
    let listening =
        |socket: &AdminSocket| socket.listener.try_clone().and_then(UnixListener::from_std);
    let mut listener = match listening(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin socket cannot be served");
            return;
        }
    };
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = look.tick() => {
                if socket.is_there() {
                    continue;
                }
                match bound_again(&state).await {
                    Ok(again) => match listening(&again) {
                        Ok(now) => {
                            (listener, socket, complained) = (now, again, false);
                            tracing::warn!("the admin socket was gone; it is made again");
                        }
                        Err(error) => tracing::error!(%error, "the admin socket cannot be served"),
                    },
                    Err(why) if !complained => {
                        complained = true;
                        tracing::error!("the admin socket is gone: {why}");
                    }
                    Err(_) => {}
                }
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept on the admin socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &service).await {
                tracing::debug!(%error, "a connection to the admin socket failed");
            }
            drop(place);
        });
    }
}

async fn bound_again(state: &StateDir) -> Result<AdminSocket, String> {
    let state = state.clone();
    let bound = tokio::task::spawn_blocking(move || AdminSocket::bind(&state)).await;
    match bound {
        Ok(bound) => bound.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn converse(mut stream: UnixStream, service: &Arc<AdminService>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let uid = peer.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        tracing::warn!(uid, "a stranger was refused at the admin socket");
        let fault = FaultReport::new("only the node's own user and root may use this socket");
        return say(&mut stream, refused_line(vec![fault])).await;
    }
    if let Some(why) = refused_process(peer.pid(), service).await {
        let fault = FaultReport::new(why);
        return say(&mut stream, refused_line(vec![fault])).await;
    }
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut waits = false;
    loop {
        line.clear();
        let mut limited = (&mut read).take(MAX_REQUEST as u64);
        let reading = limited.read_until(b'\n', &mut line);
        let arrived = if waits {
            reading.await
        } else {
            timeout(REQUEST_TIMEOUT, reading)
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
            Ok(request) => AdminService::answer(service, request).await,
            Err(fault) => refused_line(vec![fault]),
        };
        say(&mut write, answer).await?;
        // Who asked for the node's end may wait for it.
        waits = service.is_ending();
    }
}

/// The reason for which a process of the node's own user may not use the
/// socket: it is a confined process of a peer. `None` if it may.
async fn refused_process(pid: Option<i32>, service: &AdminService) -> Option<String> {
    let walls = service.walls()?;
    // Processes outside of the node's PID namespace have no number here, and are of no peer.
    let pid = Pid::from_raw(pid?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok();
    let whose = walls.whose(pid.as_raw_nonzero().get()).await;
    // The number was that process's all along if it still lives.
    let lives = process.is_some_and(|process| {
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let now = Timespec::default();
        matches!(poll(&mut ended, Some(&now)), Ok(0))
    });
    match whose {
        Ok(
            Whose::Other
            | Whose::Peer {
                confined: false, ..
            },
        ) if lives => None,
        Ok(Whose::Peer {
            identity,
            confined: true,
        }) => {
            tracing::warn!(
                peer = identity,
                "a peer's process was refused at the admin socket"
            );
            Some("a peer's process may not use this socket".to_owned())
        }
        Ok(_) => Some("the process that connected has ended".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), line: String) -> io::Result<()> {
    timeout(REQUEST_TIMEOUT, stream.write_all(line.as_bytes()))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
