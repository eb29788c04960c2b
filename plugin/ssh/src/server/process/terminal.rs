//! Pseudo-terminals (pty(7)): asked for, opened, resized.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use pty_process::{OwnedReadPty, OwnedWritePty, Pts};
use russh::Pty as Mode;
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize, ttyname};

use super::modes;

/// The longest name of a kind of terminal.
const LONGEST_NAME: usize = 256;

/// The terminal a peer asked for (RFC 4254 section 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TerminalRequest {
    /// The value of `TERM`.
    kind: String,
    pub(crate) size: Size,
    modes: Vec<(Mode, u32)>,
}

/// The size of a terminal. What a peer asks for is cut to what the system has
/// room for; zero stands for unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    columns: u16,
    rows: u16,
    width: u16,
    height: u16,
}

/// Our side of a terminal. When it is dropped, the terminal hangs up.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) read: OwnedReadPty,
    pub(crate) write: OwnedWritePty,
    pub(crate) control: TerminalControl,
}

/// Changes a terminal that is in use; keeps it from hanging up.
#[derive(Debug)]
pub(crate) struct TerminalControl(OwnedFd);

/// A terminal nobody uses yet.
pub(super) struct Opened {
    pub(super) terminal: Terminal,
    /// The side of the command.
    pub(super) far: Pts,
    /// Its path.
    pub(super) path: OsString,
}

impl TerminalRequest {
    /// Makes a request; `None` when `kind` cannot be the value of `TERM`.
    pub(crate) fn new(kind: &str, size: Size, modes: &[(Mode, u32)]) -> Option<Self> {
        let possible = kind.len() <= LONGEST_NAME && !kind.contains('\0');
        possible.then(|| Self {
            kind: kind.to_owned(),
            size,
            modes: modes.to_vec(),
        })
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// Opens such a terminal.
    pub(super) fn open(&self) -> io::Result<Opened> {
        let (near, far) = pty_process::open().map_err(into_io)?;
        let path = ttyname(&far, Vec::new())?;
        let mut attributes = tcgetattr(&far)?;
        modes::apply(&self.modes, &mut attributes);
        tcsetattr(&far, OptionalActions::Now, &attributes)?;
        tcsetwinsize(&far, self.size.into())?;
        let control = TerminalControl(near.as_fd().try_clone_to_owned()?);
        let (read, write) = near.into_split();
        Ok(Opened {
            terminal: Terminal {
                read,
                write,
                control,
            },
            far,
            path: OsString::from_vec(path.into_bytes()),
        })
    }
}

impl TerminalControl {
    /// Changes the size, and tells the terminal's foreground processes
    /// (SIGWINCH).
    pub(crate) fn resize(&self, size: Size) {
        if let Err(error) = tcsetwinsize(&self.0, size.into()) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }
}

impl Size {
    /// Makes a size of characters and pixels (RFC 4254 section 6.7).
    pub(crate) fn new(columns: u32, rows: u32, width: u32, height: u32) -> Self {
        let cut = |length| u16::try_from(length).unwrap_or(u16::MAX);
        Self {
            columns: cut(columns),
            rows: cut(rows),
            width: cut(width),
            height: cut(height),
        }
    }
}

impl From<Size> for Winsize {
    fn from(size: Size) -> Self {
        Self {
            ws_col: size.columns,
            ws_row: size.rows,
            ws_xpixel: size.width,
            ws_ypixel: size.height,
        }
    }
}

/// Converts an error and keeps its kind, so that a program that is not found is
/// told apart.
pub(super) fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
        error => io::Error::other(error),
    }
}

/// Whether the error is that of reading a terminal's near side once nobody has
/// its far side open any more (pty(7)).
pub(crate) fn is_hung_up(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_cut_and_absurd_kinds_refused() {
        let size = Size::new(u32::MAX, 24, 0, 70_000);
        assert_eq!(size, Size::new(65_535, 24, 0, 65_535));
        assert!(TerminalRequest::new("xterm-256color", size, &[]).is_some());
        assert!(TerminalRequest::new("a\0b", size, &[]).is_none());
        assert!(TerminalRequest::new(&"x".repeat(257), size, &[]).is_none());
    }
}
