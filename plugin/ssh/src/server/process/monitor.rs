//! The client of the node's monitor, which starts jobs and opens Unix sockets
//! for peers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use alknet_session::{
    Answer, AsyncSocket, Control, Event, HandlerSessions, Job as Listed, JobFilter, Request,
    Socket, SocketError, Start, UnixTarget, UnixVerdict,
};

use super::start_error::StartError;
use super::status::Status;
use super::streams::FarEnds;

/// The handler's side of its socket to the node's monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: AsyncSocket,
    pub(crate) context: HandlerSessions,
    /// The library that this code was loaded from, for helpers.
    library: File,
}

/// A job of the monitor: a process and all its descendants.
#[derive(Debug)]
pub(crate) struct MonitoredJob(AsyncSocket);

/// What the path of a Unix socket leads to, with the rights of a peer. Nothing
/// is connected to or made until it is granted.
#[derive(Debug)]
pub(crate) struct FoundUnix {
    /// The real path, without links.
    pub(crate) path: PathBuf,
    request: AsyncSocket,
}

/// A Unix socket that listens; its path is removed with it.
#[derive(Debug)]
pub(crate) struct BoundUnix {
    pub(crate) listener: OwnedFd,
    /// The socket of the request, open for as long as the path is to stay.
    pub(crate) request: AsyncSocket,
}

/// Why a request to the monitor failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the node's monitor gave no answer")]
    NoAnswer,
    #[error("{reason}")]
    Refused { reason: String, errno: Option<i32> },
}

impl Monitor {
    /// Makes the client. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the library cannot be opened, or the socket cannot be used.
    pub(super) fn new(socket: Socket, context: HandlerSessions) -> io::Result<Self> {
        Ok(Self {
            socket: AsyncSocket::new(socket)?,
            library: File::open(&context.library)?,
            context,
        })
    }

    pub(super) async fn start(
        &self,
        start: Start,
        ends: FarEnds,
        helper: bool,
    ) -> Result<MonitoredJob, StartError> {
        let (near, far) = Socket::pair()?;
        let [stdin, stdout, stderr] = ends.descriptors();
        let mut descriptors = vec![far.as_fd(), stdin, stdout, stderr];
        if helper {
            descriptors.push(self.library.as_fd());
        }
        let request = Request::Start(Box::new(start));
        self.socket.send_request(&request, &descriptors).await?;
        drop(descriptors);
        // The monitor and the process have them now; the end of the process's
        // output is seen when they alone have closed it.
        drop((far, ends));
        let socket = AsyncSocket::new(near)?;
        match socket.receive().await?.map(|received| received.message) {
            Some(Event::Started { .. }) => Ok(MonitoredJob(socket)),
            Some(Event::Refused { reason, status }) => Err(StartError::Refused { reason, status }),
            Some(_) | None => Err(StartError::NoMonitor),
        }
    }

    /// The jobs that match.
    pub(crate) async fn jobs(&self, filter: JobFilter) -> Result<Vec<Listed>, MonitorError> {
        let answers = self.request(&Request::Jobs(filter)).await?;
        let mut jobs = Vec::new();
        loop {
            match answer(&answers).await?.0 {
                Answer::Job(job) => jobs.push(job),
                Answer::Done => return Ok(jobs),
                Answer::Refused { reason, errno } => {
                    return Err(MonitorError::Refused { reason, errno });
                }
                Answer::Found { .. } | Answer::Socket => return Err(MonitorError::NoAnswer),
            }
        }
    }

    /// Ends the jobs that match, with all their processes.
    pub(crate) async fn end(&self, filter: JobFilter, grace: Duration) -> Result<(), MonitorError> {
        let answers = self
            .request(&Request::End(filter, milliseconds(grace)))
            .await?;
        match answer(&answers).await?.0 {
            Answer::Refused { reason, errno } => Err(MonitorError::Refused { reason, errno }),
            _ => Ok(()),
        }
    }

    /// Finds a Unix socket to connect to with the rights of a peer.
    pub(crate) async fn find_unix(&self, target: UnixTarget) -> Result<FoundUnix, MonitorError> {
        self.found(&Request::OpenUnix(target)).await
    }

    /// Finds a place for a Unix socket with the rights of a peer.
    pub(crate) async fn find_place(&self, target: UnixTarget) -> Result<FoundUnix, MonitorError> {
        self.found(&Request::BindUnix(target)).await
    }

    async fn found(&self, request: &Request) -> Result<FoundUnix, MonitorError> {
        let request = self.request(request).await?;
        match answer(&request).await?.0 {
            Answer::Found { path } => Ok(FoundUnix { path, request }),
            Answer::Refused { reason, errno } => Err(MonitorError::Refused { reason, errno }),
            _ => Err(MonitorError::NoAnswer),
        }
    }

    async fn request(&self, request: &Request) -> Result<AsyncSocket, MonitorError> {
        let (near, far) = Socket::pair().map_err(SocketError::from)?;
        let descriptors: [BorrowedFd<'_>; 1] = [far.as_fd()];
        self.socket.send_request(request, &descriptors).await?;
        Ok(AsyncSocket::new(near).map_err(SocketError::from)?)
    }
}

async fn answer(socket: &AsyncSocket) -> Result<(Answer, Vec<OwnedFd>), MonitorError> {
    let received = socket.receive().await?.ok_or(MonitorError::NoAnswer)?;
    Ok((received.message, received.descriptors))
}

impl FoundUnix {
    /// Has the monitor connect to it; returns the connected socket.
    pub(crate) async fn connect(self) -> Result<OwnedFd, MonitorError> {
        self.granted().await
    }

    /// Has the monitor listen there.
    pub(crate) async fn listen(self) -> Result<BoundUnix, MonitorError> {
        let listener = self.granted().await?;
        Ok(BoundUnix {
            listener,
            request: self.request,
        })
    }

    async fn granted(&self) -> Result<OwnedFd, MonitorError> {
        self.request.send(&UnixVerdict::Granted, &[]).await?;
        match answer(&self.request).await? {
            (Answer::Socket, descriptors) => {
                let descriptor = descriptors.into_iter().next();
                descriptor.ok_or(MonitorError::NoAnswer)
            }
            (Answer::Refused { reason, errno }, _) => Err(MonitorError::Refused { reason, errno }),
            _ => Err(MonitorError::NoAnswer),
        }
    }
}

impl MonitorError {
    /// The error as one of the system, where it was one.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Refused {
                errno: Some(errno), ..
            } => io::Error::from_raw_os_error(errno),
            error => io::Error::other(error),
        }
    }
}

impl MonitoredJob {
    /// How the process ended; `None` when the monitor does not say.
    pub(super) async fn exited(&self) -> Option<Status> {
        loop {
            match self.0.receive::<Event>().await.ok()??.message {
                Event::Exited(status) => return Some(Status::Exited(status.into())),
                Event::Signaled {
                    signal,
                    core_dumped,
                } => {
                    return Some(Status::Signaled {
                        signal,
                        core_dumped,
                    });
                }
                Event::Empty | Event::Refused { .. } => return None,
                Event::Started { .. } => {}
            }
        }
    }

    pub(super) async fn control(&self, control: Control) {
        if let Err(error) = self.0.send(&control, &[]).await {
            // It has ended by itself.
            tracing::debug!(%error, "a job could not be told");
        }
    }

    /// Ends the job; returns when no process is left.
    pub(super) async fn end(&self, grace: Duration) {
        self.control(Control::End(milliseconds(grace))).await;
        while let Ok(Some(received)) = self.0.receive::<Event>().await {
            if received.message == Event::Empty {
                return;
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
