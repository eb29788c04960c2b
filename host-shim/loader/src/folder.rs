//! Walking to a directory through directories that nobody else can change.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};

use crate::refusal::Refusal;

/// The most symbolic links that are followed, as in the kernel (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// Opens `folder`, having checked it and every directory on the way.
///
/// Each must belong to root or to this process's user. An ancestor that others can write to is let through if it has
/// the sticky bit, as `/tmp` does, since nobody can then replace what is not theirs; `folder` itself is not. A symbolic
/// link on the way is followed if its own owner passes. The handles are opened one from the other, so what was checked
/// is what is used.
///
/// The rule is that of sshd for a home directory (StrictModes in sshd_config(5)), the sticky bit apart.
pub(crate) fn open_trusted(folder: &Path) -> Result<OwnedFd, Refusal> {
    let reached = reach(folder)?;
    check_writable(&reached.path, "the directory", &reached.stat, false)?;
    Ok(reached.handle)
}

/// As [`open_trusted`], but `folder` may have the sticky bit: for a parent in which we create a directory of our own.
pub(crate) fn open_trusted_parent(folder: &Path) -> Result<OwnedFd, Refusal> {
    let reached = reach(folder)?;
    check_writable(&reached.path, "the directory", &reached.stat, true)?;
    Ok(reached.handle)
}

/// Checks that something that was opened belongs to root or to this process's user.
pub(crate) fn check_owner(path: &Path, what: &'static str, stat: &Stat) -> Result<(), Refusal> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid == 0 || stat.st_uid == user {
        return Ok(());
    }
    Err(Refusal::Owner {
        path: path.to_owned(),
        what,
        owner: stat.st_uid,
        user,
    })
}

/// Refuses what a group or others can write to, unless the sticky bit is set and `sticky_is_fine`.
pub(crate) fn check_writable(
    path: &Path,
    what: &'static str,
    stat: &Stat,
    sticky_is_fine: bool,
) -> Result<(), Refusal> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if sticky_is_fine && mode.contains(Mode::SVTX) {
        return Ok(());
    }
    let who = match (mode.contains(Mode::WGRP), mode.contains(Mode::WOTH)) {
        (false, false) => return Ok(()),
        (true, false) => "group",
        (false, true) => "others",
        (true, true) => "group and others",
    };
    Err(Refusal::Writable {
        path: path.to_owned(),
        what,
        who,
        mode: stat.st_mode,
    })
}

struct Reached {
    handle: OwnedFd,
    stat: Stat,
    /// Where the walk stands, symbolic links resolved.
    path: PathBuf,
}

fn reach(folder: &Path) -> Result<Reached, Refusal> {
    let io_error = |path: &Path, action, source: io::Error| Refusal::Io {
        path: path.to_owned(),
        action,
        source,
    };
    let absolute =
        std::path::absolute(folder).map_err(|e| io_error(folder, "resolve the directory", e))?;
    let mut ahead = names(&absolute);
    let mut behind = vec![open_checked(CWD, OsStr::new("/"), Path::new("/"))?];
    let mut symlinks = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if behind.len() > 1 {
                behind.pop();
            }
            continue;
        }
        let Some(here) = behind.last() else { break };
        let path = here.path.join(&name);
        let next = open_checked(&here.handle, &name, &path)?;
        match FileType::from_raw_mode(next.stat.st_mode) {
            FileType::Directory => {
                // Only now is it known that the directory it lies in is an ancestor and not the goal.
                check_writable(&here.path, "the directory", &here.stat, true)?;
                behind.push(next);
            }
            FileType::Symlink => {
                check_writable(&here.path, "the directory", &here.stat, true)?;
                symlinks += 1;
                if symlinks > MAX_SYMLINKS {
                    let source = io::Error::from(rustix::io::Errno::LOOP);
                    return Err(io_error(&path, "follow the symbolic links", source));
                }
                let target = readlinkat(&here.handle, &name, Vec::new())
                    .map_err(|e| io_error(&path, "read the symbolic link", e.into()))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    behind.truncate(1);
                }
                let mut target = names(&target);
                target.append(&mut ahead);
                ahead = target;
            }
            _ => {
                return Err(io_error(
                    &path,
                    "enter the directory",
                    io::ErrorKind::NotADirectory.into(),
                ));
            }
        }
    }
    behind.pop().ok_or_else(|| {
        io_error(
            folder,
            "resolve the directory",
            io::ErrorKind::NotFound.into(),
        )
    })
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

fn open_checked(
    parent: impl std::os::fd::AsFd,
    name: &OsStr,
    path: &Path,
) -> Result<Reached, Refusal> {
    let path = path.to_owned();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(parent, name, flags, Mode::empty()).and_then(|handle| Ok((fstat(&handle)?, handle)));
    let (stat, handle) = match opened {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT) => return Err(Refusal::Missing { path }),
        Err(source) => {
            return Err(Refusal::Io {
                path,
                action: "open the directory",
                source: source.into(),
            });
        }
    };
    check_owner(&path, "the directory", &stat)?;
    Ok(Reached { handle, stat, path })
}
