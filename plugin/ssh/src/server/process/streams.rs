//! The pipes or the terminal between a channel and its process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pty_process::Pts;
use rustix::pipe::fcntl_setpipe_size;
use tokio::net::unix::pipe;

use super::{Terminal, TerminalRequest};

/// The bytes that a pipe of file transfer holds: several messages, so that both
/// sides of it work at the same time.
const FILES_PIPE: usize = 256 * 1024;

/// Our ends of the streams that a process reads from and writes to.
#[derive(Debug)]
pub(crate) enum Streams {
    Pipes {
        stdin: pipe::Sender,
        stdout: pipe::Receiver,
        stderr: pipe::Receiver,
    },
    Terminal(Terminal),
}

/// The ends of the process.
pub(super) enum FarEnds {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal {
        pts: Pts,
        /// Its path.
        path: OsString,
    },
}

impl Streams {
    /// Opens three pipes, or a terminal.
    pub(super) fn open(terminal: Option<&TerminalRequest>) -> io::Result<(Self, FarEnds)> {
        let Some(request) = terminal else {
            return Self::pipes();
        };
        let opened = request.open()?;
        let far = FarEnds::Terminal {
            pts: opened.far,
            path: opened.path,
        };
        Ok((Self::Terminal(opened.terminal), far))
    }

    /// Opens pipes for file transfer.
    pub(super) fn for_files() -> io::Result<(Self, FarEnds)> {
        let (near, far) = Self::pipes()?;
        if let FarEnds::Pipes { stdin, stdout, .. } = &far {
            // Who has used up what the system grants (pipe(7)) gets less.
            let _ = fcntl_setpipe_size(stdin, FILES_PIPE);
            let _ = fcntl_setpipe_size(stdout, FILES_PIPE);
        }
        Ok((near, far))
    }

    fn pipes() -> io::Result<(Self, FarEnds)> {
        let (stdin, far_stdin) = pipe::pipe()?;
        let (far_stdout, stdout) = pipe::pipe()?;
        let (far_stderr, stderr) = pipe::pipe()?;
        let near = Self::Pipes {
            stdin,
            stdout,
            stderr,
        };
        let far = FarEnds::Pipes {
            stdin: far_stdin.into_blocking_fd()?,
            stdout: far_stdout.into_blocking_fd()?,
            stderr: far_stderr.into_blocking_fd()?,
        };
        Ok((near, far))
    }
}

impl FarEnds {
    /// Standard input, output and error.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        match self {
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            Self::Terminal { pts, .. } => [pts.as_fd(); 3],
        }
    }

    /// The path of the terminal, if it is one.
    pub(super) fn path(&self) -> Option<&OsStr> {
        match self {
            Self::Pipes { .. } => None,
            Self::Terminal { path, .. } => Some(path),
        }
    }
}
