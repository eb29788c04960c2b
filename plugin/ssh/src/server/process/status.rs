//! The status with which a process ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(u32),
    Signaled { signal: i32, core_dumped: bool },
}

impl Status {
    /// Reads the status of a process; `None` for one that has not ended.
    pub(super) fn of(status: ExitStatus) -> Option<Self> {
        if let Some(signal) = status.signal() {
            return Some(Self::Signaled {
                signal,
                core_dumped: status.core_dumped(),
            });
        }
        let code = status.code()?;
        Some(Self::Exited(u32::try_from(code).ok()?))
    }
}
