use std::io;

use alknet_session::{HandlerSessions, MAX_REQUEST, Mode, Socket, SocketError, Start};
use alknet_ssh_config::Services;

use super::monitor::Monitor;
use super::{Account, Environment, Job, Origin, Program, Streams, TerminalRequest, direct};
use crate::server::auth::Accounts;

/// The status a shell exits with when it cannot run a program.
const CANNOT_RUN: u8 = 126;
/// The same for a program that is not there.
const NOT_FOUND: u8 = 127;

/// Starts the processes of peers.
#[derive(Debug)]
pub struct Launcher(Kind);

#[derive(Debug)]
enum Kind {
    Monitor(Box<Monitor>),
    Direct(Account),
}

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
    /// See [`Start::note`].
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

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Socket(SocketError),
    #[error("the command and its environment are longer than {MAX_REQUEST} bytes")]
    TooLong,
    #[error("the node's monitor, which starts processes, is gone")]
    NoMonitor,
    #[error("{reason}")]
    Refused { reason: String, status: u8 },
}

impl Launcher {
    /// Has the node's monitor start them, over the handler's socket to it.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the library that `context` names cannot be opened, or the socket
    /// cannot be used.
    pub fn new(socket: Socket, context: HandlerSessions) -> io::Result<Self> {
        let monitor = Monitor::new(socket, context)?;
        Ok(Self(Kind::Monitor(Box::new(monitor))))
    }

    /// Starts them as children of this process, with all its rights: for
    /// programs that embed the server and have no monitor, and for tests.
    pub fn direct() -> Self {
        Self(Kind::Direct(Account::current()))
    }

    pub(crate) fn monitor(&self) -> Option<&Monitor> {
        match &self.0 {
            Kind::Monitor(monitor) => Some(monitor),
            Kind::Direct(_) => None,
        }
    }

    /// What the node said about starting processes.
    pub(crate) fn context(&self) -> Option<&HandlerSessions> {
        self.monitor().map(|monitor| &monitor.context)
    }

    /// Which accounts peers log in to.
    pub(crate) fn accounts(&self) -> Accounts {
        match self.context() {
            Some(context) if context.mode == Mode::Accounts => Accounts::OfPeers {
                default: context.default_account.clone(),
            },
            _ => Accounts::OfNode,
        }
    }

    /// Starts a process.
    pub(crate) async fn start(&self, launch: Launch<'_>) -> Result<Launched, StartError> {
        if let Some(reason) = launch.peer.refusal {
            let status = CANNOT_RUN;
            return Err(StartError::Refused { reason, status });
        }
        match &self.0 {
            Kind::Direct(account) => direct::start(account, launch),
            Kind::Monitor(monitor) => {
                let Launch {
                    program,
                    services,
                    environment,
                    terminal,
                    peer,
                } = launch;
                let helper = matches!(program, Program::Files(_));
                let (streams, far) = if helper {
                    Streams::for_files()?
                } else {
                    Streams::open(terminal)?
                };
                let environment = environment.variables(
                    services,
                    &peer.origin,
                    program.shell(services),
                    terminal.and_then(|request| Some((request.kind(), far.path()?))),
                );
                let (generation, session) = peer.session;
                let start = Start {
                    identity: peer.identity,
                    generation,
                    session,
                    account: peer.account,
                    program: program.for_monitor(services),
                    terminal: far.path().is_some(),
                    environment,
                    umask: None,
                    confinement: peer.confinement,
                    remote: peer
                        .origin
                        .peer
                        .map(|peer| peer.ip().to_canonical().to_string()),
                    note: peer.note,
                };
                let job = monitor.start(start, far, helper).await?;
                Ok(Launched {
                    job: Job::Monitored(job),
                    streams,
                })
            }
        }
    }
}

impl StartError {
    /// As a shell would exit: 127 for what is not there, 126 for what cannot
    /// be run.
    pub(crate) fn status(&self) -> u32 {
        let status = match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Refused { status, .. } => *status,
            _ => CANNOT_RUN,
        };
        status.into()
    }
}

impl From<SocketError> for StartError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::TooLarge | SocketError::RequestTooLarge => Self::TooLong,
            error => Self::Socket(error),
        }
    }
}
