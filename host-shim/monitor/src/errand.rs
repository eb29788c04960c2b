//! Processes that do for the monitor what it must not wait for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

use alknet_session::{Answer, Socket, SocketError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;

use crate::sys;

/// The monitor's hold on such a process; when it is dropped, that process ends.
pub(crate) struct Errand {
    _monitor: Socket,
}

/// The connections of an errand: to the one who asked, and to the monitor, with
/// whose end it ends.
pub(crate) struct Client<'a> {
    pub(crate) answer: &'a Socket,
    monitor: &'a Socket,
}

/// Forks a process that answers on this socket.
///
/// # Errors
/// As fork(2).
pub(crate) fn start(answer: &Socket, run: impl FnOnce(&Client<'_>)) -> io::Result<(Pid, Errand)> {
    let (near, far) = Socket::pair()?;
    let keep = [answer.as_raw_fd(), far.as_raw_fd()];
    let pid = sys::fork(&keep, || {
        run(&Client {
            answer,
            monitor: &far,
        });
        0
    })?;
    Ok((pid, Errand { _monitor: near }))
}

/// Sends answers to one who reads them at its own pace.
///
/// # Errors
/// As for [`start`].
pub(crate) fn send_all(answers: &VecDeque<Answer>, answer: &Socket) -> io::Result<(Pid, Errand)> {
    start(answer, |client| {
        for answer in answers {
            while let Err(error) = client.answer.send(answer, &[]) {
                if !would_block(&error) || !client.wait(PollFlags::OUT) {
                    return;
                }
            }
        }
    })
}

impl Client<'_> {
    /// Waits for something to read, or for room to write. Says whether the
    /// monitor is still there.
    pub(crate) fn wait(&self, what: PollFlags) -> bool {
        let mut waited = [
            PollFd::new(self.answer, what),
            PollFd::new(self.monitor, PollFlags::IN),
        ];
        while let Err(rustix::io::Errno::INTR) = poll(&mut waited, None) {}
        let [_, monitor] = waited;
        monitor.revents().is_empty()
    }
}

pub(crate) fn would_block(error: &SocketError) -> bool {
    matches!(error, SocketError::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}
