//! Memory that goes back to the system.
//!
//! The node and its plugins share one allocator, that of the C library. It keeps what was freed, in as many arenas as
//! there were threads at once: after a crowd, and after the end of a version, that is most of what the process has.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Has threads share at most `arenas` arenas of the allocator from now on. Where the C library has no such setting,
/// nothing happens.
pub fn limit_arenas(arenas: usize) {
    #[cfg(target_env = "gnu")]
    {
        let arenas = libc::c_int::try_from(arenas).unwrap_or(libc::c_int::MAX);
        // SAFETY: mallopt(3) takes two numbers, and may be called at any time by any thread.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = arenas;
}

/// Gives the free pages of all arenas back. Takes some milliseconds, in which other threads may wait for memory.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) takes a number, and may be called at any time by any thread.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

/// The contents of a file, which the system reads where they are looked at and takes back as it likes.
pub(crate) struct Mapped {
    start: *mut c_void,
    length: usize,
}

impl Mapped {
    /// Maps a file that nobody writes to or cuts off: a private copy.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let fd = file.as_raw_fd();
        // SAFETY: a new mapping at a place of the kernel's choice; mmap(2) refuses a length of 0.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, length })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: these bytes are mapped as long as this value lives, and nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is a mapping of this value's own, and nothing borrows from it any more.
        let _ = unsafe { libc::munmap(self.start, self.length) };
    }
}

/// Lets the system take back the memory into which this file is mapped, before anything else. What is used again is
/// read again: from the file where it was not written to, removed or not, else from swap. Without swap what was written
/// to stays.
pub(crate) fn page_out(file: &Path) {
    let Ok(maps) = std::fs::read("/proc/self/maps") else {
        return;
    };
    for line in maps.split(|byte| *byte == b'\n') {
        if is_mapping_of(line, file)
            && let Some((start, length)) = range(line)
        {
            // SAFETY: MADV_PAGEOUT (madvise(2)) changes the contents of no page, whatever the range.
            let _ = unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_PAGEOUT) };
        }
    }
}

/// Whether a line of /proc/PID/maps (proc(5)) is about this file, which may have been removed since.
fn is_mapping_of(line: &[u8], file: &Path) -> bool {
    let mapped = line.strip_suffix(b" (deleted)").unwrap_or(line);
    mapped.ends_with(file.as_os_str().as_bytes())
}

/// The start and length of a mapping, as a line of /proc/PID/maps begins (proc(5)).
fn range(line: &[u8]) -> Option<(usize, usize)> {
    let range = line.split(|byte| *byte == b' ').next()?;
    let (start, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_begins_with_a_range() {
        let line = b"7f00a000-7f00c000 r-xp 00000000 08:01 42 /s/x.so";
        assert_eq!(range(line), Some((0x7f00_a000, 0x2000)));
        assert_eq!(range(b""), None);
        assert_eq!(range(b"2-1 r"), None);
    }

    #[test]
    fn a_mapping_is_known_by_its_file_even_where_that_was_removed() {
        let line = "7f00a000-7f00c000 r-xp 00000000 08:01 42 /s/x.so";
        let removed = format!("{line} (deleted)");
        for (line, file, expected) in [
            (line, "/s/x.so", true),
            (&removed, "/s/x.so", true),
            (line, "/s/y.so", false),
            ("7f00a000-7f00c000 rw-p 00000000 00:00 0", "/s/x.so", false),
        ] {
            assert_eq!(
                is_mapping_of(line.as_bytes(), Path::new(file)),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn memory_can_be_given_back_at_any_time() {
        limit_arenas(4);
        trim();
        page_out(&std::env::current_exe().unwrap());
    }
}
