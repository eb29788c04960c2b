//! What a keeper is forked for.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use alknet_session::{JobId, Socket, Start};

use crate::context::Context;

/// The job that a keeper is forked for.
pub(crate) struct Task<'a> {
    pub(crate) context: &'a Context,
    pub(crate) job: JobId,
    pub(crate) start: Start,
    /// The socket to the handler.
    pub(crate) handler: Socket,
    /// The socket to the monitor.
    pub(crate) monitor: Socket,
    pub(crate) streams: [OwnedFd; 3],
    pub(crate) library: Option<OwnedFd>,
    pub(crate) system: Vec<std::path::PathBuf>,
}

impl Task<'_> {
    /// The descriptors of the monitor that the keeper needs.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let mut descriptors = vec![
            self.handler.as_raw_fd(),
            self.monitor.as_raw_fd(),
            self.context.program.as_raw_fd(),
        ];
        descriptors.extend(
            self.streams
                .iter()
                .chain(&self.library)
                .map(AsRawFd::as_raw_fd),
        );
        descriptors
    }
}
