//! The two ways to start a process: by the node's monitor, or as a child of
//! this process.

use std::io;

use alknet_session::{HandlerSessions, Mode, Socket, Start};

use super::launch::{Launch, Launched};
use super::monitor::Monitor;
use super::start_error::{CANNOT_RUN, StartError};
use super::{Account, Job, Program, Streams, direct};
use crate::server::auth::Accounts;

/// Starts the processes of peers.
#[derive(Debug)]
pub struct Launcher(Kind);

#[derive(Debug)]
enum Kind {
    Monitor(Box<Monitor>),
    Direct(Account),
}

impl Launcher {
    /// A launcher that has the node's monitor start processes, over the
    /// handler's socket to it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the library that `context` names cannot be opened, or the socket
    /// cannot be used.
    pub fn new(socket: Socket, context: HandlerSessions) -> io::Result<Self> {
        let monitor = Monitor::new(socket, context)?;
        Ok(Self(Kind::Monitor(Box::new(monitor))))
    }

    /// A launcher that starts processes as children of this process, with all
    /// its rights: for programs that embed the server and have no monitor, and
    /// for tests.
    pub fn direct() -> Self {
        Self(Kind::Direct(Account::current()))
    }

    pub(crate) fn monitor(&self) -> Option<&Monitor> {
        match &self.0 {
            Kind::Monitor(monitor) => Some(monitor),
            Kind::Direct(_) => None,
        }
    }

    /// What the node told the handler about starting processes.
    pub(crate) fn context(&self) -> Option<&HandlerSessions> {
        self.monitor().map(|monitor| &monitor.context)
    }

    /// The accounts that peers log in to.
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
