//! Unix sockets opened and bound with the rights of a peer, each by a process
//! of its own. A path is resolved once, without leaving what was granted; what
//! was resolved is told to the handler, and, when that grants it, is what is
//! connected to.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use alknet_session::{
    Answer, BoundPath, Socket, UnixSocketFile, UnixSocketPlace, UnixTarget, UnixVerdict,
};
use rustix::event::PollFlags;
use rustix::process::Pid;

use crate::context::Context;
use crate::errand::{self, Client, Errand, would_block};
use crate::prepare;

/// Forks a process that opens or binds the socket, answers, and, if it bound
/// one, stays until the answer's socket is closed, to remove it.
pub(crate) fn start(
    context: &Context,
    target: UnixTarget,
    binds: bool,
    answer: &Socket,
) -> io::Result<(Pid, Errand)> {
    errand::start(answer, |handler| run(context, &target, binds, handler))
}

fn run(context: &Context, target: &UnixTarget, binds: bool, handler: &Client<'_>) {
    let done = match binds {
        true => bind(context, target, handler),
        false => connect(context, target, handler),
    };
    match done {
        Ok(Some((socket, path))) => {
            let sent = handler.answer.send(&Answer::Socket, &[socket.as_fd()]);
            drop(socket);
            if path.is_some() && sent.is_ok() {
                handler.wait(PollFlags::IN);
            }
        }
        Ok(None) => {}
        Err(error) => {
            let refused = Answer::Refused {
                reason: error.to_string(),
                errno: error.raw_os_error(),
            };
            let _ = handler.answer.send(&refused, &[]);
        }
    }
}

/// The socket and, if it was bound, its path; `None` where the handler does not
/// grant what was found.
type Done = io::Result<Option<(OwnedFd, Option<BoundPath>)>>;

fn connect(context: &Context, target: &UnixTarget, handler: &Client<'_>) -> Done {
    prepare::become_owner_of(context, target)?;
    let file = UnixSocketFile::open(&target.path, target.beneath.as_deref())?;
    let path = file.real_path()?;
    refuse_private(context, target, &path)?;
    Ok(match grants(handler, path) {
        true => Some((file.connect()?, None)),
        false => None,
    })
}

fn bind(context: &Context, target: &UnixTarget, handler: &Client<'_>) -> Done {
    prepare::become_owner_of(context, target)?;
    let place = UnixSocketPlace::open(&target.path, target.beneath.as_deref())?;
    let path = place.real_path()?;
    refuse_private(context, target, &path)?;
    if !grants(handler, path) {
        return Ok(None);
    }
    let (socket, path) = place.bind()?;
    Ok(Some((socket, Some(path))))
}

/// Whether the handler grants what was found. It has as long as it wants.
fn grants(handler: &Client<'_>, path: PathBuf) -> bool {
    if handler.answer.send(&Answer::Found { path }, &[]).is_err() {
        return false;
    }
    while handler.wait(PollFlags::IN) {
        match handler.answer.receive::<UnixVerdict>() {
            Ok(Some(received)) => return received.message == UnixVerdict::Granted,
            Err(error) if would_block(&error) => {}
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// Refuses the node's own sockets, whatever was granted; those in a guest's
/// home are the guest's.
fn refuse_private(context: &Context, target: &UnixTarget, path: &Path) -> io::Result<()> {
    let is_in = |directory: &PathBuf| {
        let real = std::fs::canonicalize(directory);
        path.starts_with(real.as_ref().unwrap_or(directory))
    };
    let confinement = target.confinement.as_ref();
    let homes = &context.config.guest_homes;
    if confinement.is_some_and(|guest| guest.home.parent() == Some(homes) && is_in(&guest.home)) {
        return Ok(());
    }
    match context.config.private.iter().any(is_in) {
        true => Err(io::Error::from_raw_os_error(libc::EACCES)),
        false => Ok(()),
    }
}
