//! What a launcher is told, and what it gives back.

use alknet_ssh_config::Services;

use super::{Environment, Job, Origin, Program, Streams, TerminalRequest};

/// A process that was started, and its streams.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) job: Job,
    pub(crate) streams: Streams,
}

/// The peer that a process is for.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) identity: String,
    pub(crate) session: (u64, u64),
    /// The account it logged in to.
    pub(crate) account: Option<String>,
    pub(crate) confinement: Option<alknet_session::Confinement>,
    /// The reason for which nothing is started for it; `None` if it may have
    /// processes.
    pub(crate) refusal: Option<String>,
    pub(crate) origin: Origin,
    /// The note for the monitor, see [`alknet_session::Start::note`].
    pub(crate) note: String,
}

/// A program to start, with its peer, environment and terminal.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) services: &'a Services,
    pub(crate) environment: Environment,
    pub(crate) terminal: Option<&'a TerminalRequest>,
    pub(crate) peer: Peer,
}
