//! A mount namespace in which everything is read-only but what a confined
//! process may write to. Landlock does not cover chmod(2), chown(2), utimes(2)
//! and setxattr(2); a read-only mount does.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use alknet_session::Confinement;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{
    DumpableBehavior, WaitOptions, getegid, geteuid, set_dumpable_behavior, waitpid,
};

use crate::sys;

/// Directories that anybody may write to, in whose place a confined process
/// sees its private one.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Whether the system lets this process have such a namespace; found out by a
/// child that tries. Users need a user namespace too, which some systems do not
/// let everybody have.
pub(crate) fn is_possible() -> bool {
    let tried = sys::fork(&[], || {
        let made = unshare().and_then(|()| sys::make_read_only(c"/"));
        u8::from(made.is_err())
    });
    let ended = tried.and_then(|child| Ok(waitpid(Some(child), WaitOptions::empty())?));
    ended.is_ok_and(|ended| ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

fn unshare() -> io::Result<()> {
    if geteuid().is_root() {
        return sys::unshare_mounts(false);
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // Until the last line, or until this process executes another program, its
    // files in /proc are its own.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    sys::unshare_mounts(true)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Moves this process into such a namespace.
///
/// # Errors
/// When the system refuses.
pub(super) fn enter(confinement: &Confinement, temporary: &Path) -> io::Result<()> {
    unshare()?;
    let trees = confinement.trees.iter();
    let writable: Vec<&Path> = trees
        .filter(|tree| tree.write)
        .map(|tree| tree.path.as_path())
        .chain([confinement.home.as_path()])
        .collect();
    let needed: Vec<&Path> = confinement
        .trees
        .iter()
        .map(|tree| tree.path.as_path())
        .chain([confinement.home.as_path()])
        .collect();
    let mut mounts = Vec::new();
    for shared in SHARED.map(Path::new) {
        // A private one would hide what the process needs.
        let hides = needed.iter().any(|path| path.starts_with(shared));
        if !hides && shared.is_dir() {
            mounts.extend(copy(temporary).ok().map(|mount| (mount, shared)));
        }
    }
    for path in writable {
        // A tree that is not there is none.
        if let Ok(mount) = copy(path) {
            mounts.push((mount, path));
        }
    }
    sys::make_read_only(c"/")?;
    for (mount, path) in mounts {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(mount, "", CWD, path, flags)?;
    }
    Ok(())
}

/// A copy of a part of the file system, mounted nowhere yet.
fn copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}
