//! The system calls for which there is no safe wrapper. All `unsafe` code of
//! the crate is in this file, but for that of `pam`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::ForkResult;
use rustix::process::Pid;

/// The exit status of a child whose code panicked: EX_SOFTWARE of sysexits(3).
const PANICKED: u8 = 70;

/// Forks a child that keeps only these descriptors (and 0 to 2), runs `run` and
/// exits with what it returns. The calling process must have one thread.
///
/// # Errors
/// As fork(2).
pub(crate) fn fork(keep: &[RawFd], run: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: the process has one thread, so the child may call anything that
    // the parent may; `start` refuses to begin in a process with more.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(|| match close_others(keep) {
                Ok(()) => run(),
                Err(_) => PANICKED,
            }));
            exit(status.unwrap_or(PANICKED))
        }
    }
}

/// Ends the process at once: no destructor and no handler of the parent's runs.
pub(crate) fn exit(status: u8) -> ! {
    // SAFETY: _exit(2) touches no memory.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Closes all descriptors from 3 on but these.
fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut numbers = keep.to_vec();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1, 0)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, RawFd::MAX, 0)
}

/// Has all descriptors from 3 on closed by execve(2).
pub(crate) fn close_on_exec() -> io::Result<()> {
    close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> io::Result<()> {
    let (first, last) = (first.unsigned_abs(), last.unsigned_abs());
    // SAFETY: this runs in a child that ends by _exit or execve, so no value
    // that owns one of the closed descriptors is used or dropped afterwards.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes a descriptor that this process was started with, by its number.
/// `None` when it is not open.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number < 3 {
        return None;
    }
    // SAFETY: fcntl(2) with F_GETFD reads a flag, whatever the number is.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and nothing else of this process owns
    // it: it was passed by its number to the one place that calls this.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives all signals their default disposition and unblocks them.
pub(crate) fn reset_signals() {
    // The kernel's `struct sigaction` with SIG_DFL, no flag and an empty mask;
    // the C library's own call refuses the two signals that it keeps for itself.
    let default = [0u64; 4];
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads what `default` holds, and SIG_DFL runs no
        // code of ours. The call fails for SIGKILL and SIGSTOP, as it should.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Makes the mounts at and below a path read-only (mount_setattr(2)).
pub(crate) fn make_read_only(path: &std::ffi::CStr) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path and the attributes live during the call, and the size
    // is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The ABI of the kernel's Landlock (landlock_create_ruleset(2)).
pub(crate) fn landlock_abi() -> io::Result<u32> {
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: without attributes and with this flag, the call reads no memory.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(abi).map_err(|_| io::Error::last_os_error())
}

/// Moves this process into a mount namespace of its own, and into a user
/// namespace of its own where `user` says so (unshare(2)).
pub(crate) fn unshare_mounts(user: bool) -> io::Result<()> {
    use rustix::thread::UnshareFlags;
    let mut flags = UnshareFlags::NEWNS;
    flags.set(UnshareFlags::NEWUSER, user);
    // SAFETY: the table of descriptors stays shared as it is.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Puts a copy of a descriptor at a number, in a process that is about to
/// execute another program, which inherits it.
pub(crate) fn place(descriptor: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: this runs in a child between fork and execve, whose descriptors
    // with such numbers have all been closed.
    match unsafe { libc::dup2(descriptor.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
