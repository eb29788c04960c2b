//! What a launcher is told, and what it gives back.

use alknet_ssh_config::Services;

use super::{Environment, Job, Origin, Program, Streams, TerminalRequest};

/// What runs, and the way to it.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) job: Job,
    pub(crate) streams: Streams,
}

/// Who a process is for.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) identity: String,
    pub(crate) session: (u64, u64),
    /// The account it logged in to.
    pub(crate) account: Option<String>,
    pub(crate) confinement: Option<alknet_session::Confinement>,
    /// Why nothing is started for it.
    pub(crate) refusal: Option<String>,
    pub(crate) origin: Origin,
    /// See [`alknet_session::Start::note`].
    pub(crate) note: String,
}

/// What is to run, and how.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) services: &'a Services,
    pub(crate) environment: Environment,
    pub(crate) terminal: Option<&'a TerminalRequest>,
    pub(crate) peer: Peer,
}
