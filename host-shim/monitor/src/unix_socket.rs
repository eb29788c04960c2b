//! Unix sockets opened and bound with the rights of a peer, each by a process
//! of its own. A path is resolved once, without leaving what was granted, and
//! what was resolved is what is connected to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use alknet_session::{Answer, Socket, UnixTarget};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat, unlinkat,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, umask};

use crate::context::Context;
use crate::{prepare, sys};

/// As many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// The monitor's hold on a process that opens or binds a socket; when it is
/// dropped, that process ends.
pub(crate) struct Errand {
    _monitor: Socket,
}

/// Forks a process that opens or binds the socket, answers, and, if it bound
/// one, stays until the answer's socket is closed, to remove it.
pub(crate) fn start(
    context: &Context,
    target: UnixTarget,
    binds: bool,
    answer: &Socket,
) -> io::Result<(Pid, Errand)> {
    let (near, far) = Socket::pair()?;
    let keep = [answer.as_raw_fd(), far.as_raw_fd()];
    let pid = sys::fork(&keep, || run(context, &target, binds, answer, &far))?;
    Ok((pid, Errand { _monitor: near }))
}

fn run(
    context: &Context,
    target: &UnixTarget,
    binds: bool,
    answer: &Socket,
    monitor: &Socket,
) -> u8 {
    let done = prepare::become_owner_of(context, target).and_then(|()| match binds {
        true => bind_at(context, target).map(|bound| (bound.socket, bound.path, Some(bound.entry))),
        false => open(context, target).map(|(socket, path)| (socket, path, None)),
    });
    match done {
        Ok((socket, path, entry)) => {
            let sent = answer.send(&Answer::Socket { path }, &[socket.as_fd()]);
            drop(socket);
            if let Some(entry) = entry {
                if sent.is_ok() {
                    wait_for_end(answer, monitor);
                }
                entry.remove();
            }
            0
        }
        Err(error) => {
            let refused = Answer::Refused {
                reason: error.to_string(),
                errno: error.raw_os_error(),
            };
            let _ = answer.send(&refused, &[]);
            0
        }
    }
}

fn wait_for_end(answer: &Socket, monitor: &Socket) {
    let mut waited = [answer, monitor].map(|socket| PollFd::new(socket, PollFlags::IN));
    while let Err(rustix::io::Errno::INTR) = poll(&mut waited, None) {}
}

fn open(context: &Context, target: &UnixTarget) -> io::Result<(OwnedFd, PathBuf)> {
    let (directory, relative) = granted(target)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(
        &directory,
        relative,
        flags,
        Mode::empty(),
        resolution(target),
    )?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Socket {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    let path = real_path(&found)?;
    refuse_private(context, target, &path)?;
    let socket = stream()?;
    // The path of a descriptor leads to what was opened, and nowhere else.
    connect(&socket, &address(&found, None)?)?;
    Ok((socket, path))
}

struct Bound {
    socket: OwnedFd,
    path: PathBuf,
    entry: Entry,
}

/// A socket's name in its directory.
struct Entry {
    directory: OwnedFd,
    name: PathBuf,
    inode: (u64, u64),
}

impl Entry {
    /// Removes it, unless another stands there now.
    fn remove(&self) {
        let Ok(found) = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        if (found.st_dev, found.st_ino) == self.inode {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn bind_at(context: &Context, target: &UnixTarget) -> io::Result<Bound> {
    let (granted, relative) = granted(target)?;
    let name = relative.file_name().map(PathBuf::from);
    let name = name.ok_or(io::ErrorKind::InvalidInput)?;
    let parent = match relative.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat2(&granted, parent, flags, Mode::empty(), resolution(target))?;
    let path = real_path(&directory)?.join(&name);
    refuse_private(context, target, &path)?;
    let socket = stream()?;
    // As `StreamLocalBindMask` of OpenSSH has it.
    umask(Mode::from_raw_mode(0o177));
    bind(&socket, &address(&directory, Some(&name))?)?;
    let found = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    let entry = Entry {
        inode: (found.st_dev, found.st_ino),
        directory,
        name,
    };
    listen(&socket, BACKLOG)?;
    Ok(Bound {
        socket,
        path,
        entry,
    })
}

/// The directory that was granted, and the path from there on.
fn granted(target: &UnixTarget) -> io::Result<(OwnedFd, PathBuf)> {
    let beneath = target.beneath.as_deref().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, beneath, flags, Mode::empty())?;
    let relative = target
        .path
        .strip_prefix(beneath)
        .map_err(io::Error::other)?;
    Ok((directory, relative.to_owned()))
}

/// What was granted as a directory is not left by a link.
fn resolution(target: &UnixTarget) -> ResolveFlags {
    match target.beneath {
        Some(_) => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        None => ResolveFlags::NO_MAGICLINKS,
    }
}

fn stream() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn address(file: &OwnedFd, name: Option<&Path>) -> io::Result<SocketAddrUnix> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.extend(name);
    Ok(SocketAddrUnix::new(path)?)
}

fn real_path(file: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Sockets of the node itself are nobody's, whatever was granted; those in a
/// guest's home are the guest's.
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
