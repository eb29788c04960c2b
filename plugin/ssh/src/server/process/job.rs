//! A process that was started, whoever started it: waited for, signalled,
//! detached or ended.

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use alknet_session::Control;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::Mutex;

use super::ProcessGroup;
use super::monitor::MonitoredJob;
use super::status::Status;

/// A process that was started, with its descendants.
#[derive(Debug)]
pub(crate) enum Job {
    /// A job of the monitor. When dropped, all its processes end, unless
    /// [`detach`](Self::detach) was called.
    Monitored(MonitoredJob),
    /// A child of this process.
    Child {
        child: Box<Mutex<Child>>,
        group: ProcessGroup,
    },
    /// A thread of this process.
    Thread(StdMutex<Option<tokio::task::JoinHandle<u8>>>),
}

impl Job {
    /// Waits for the end of the process itself. `None` when it cannot be
    /// known.
    pub(crate) async fn exited(&self) -> Option<Status> {
        match self {
            Self::Monitored(job) => job.exited().await,
            Self::Child { child, .. } => {
                let status = child.lock().await.wait().await;
                status.ok().and_then(Status::of)
            }
            Self::Thread(thread) => {
                let thread = thread
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .take();
                let status = thread?.await.ok()?;
                Some(Status::Exited(status.into()))
            }
        }
    }

    /// Sends a signal to the process group of the process.
    pub(crate) async fn signal(&self, signal: Signal) {
        match self {
            Self::Monitored(job) => job.control(Control::Signal(signal.as_raw())).await,
            Self::Child { group, .. } => {
                group.signal(signal);
            }
            Self::Thread(_) => {}
        }
    }

    /// Leaves the processes alone: they go on without the channel.
    pub(crate) async fn detach(self) {
        match self {
            Self::Monitored(job) => job.control(Control::Detach).await,
            Self::Child { child, .. } => {
                tokio::spawn(async move { child.into_inner().wait().await });
            }
            Self::Thread(_) => {}
        }
    }

    /// Ends all processes: asks them, then, after `grace`, kills. Returns when
    /// none is left.
    pub(crate) async fn end(self, grace: Duration) {
        match self {
            Self::Monitored(job) => job.end(grace).await,
            Self::Child { child, group } => group.end(child.into_inner(), grace).await,
            // Its input has ended, and so does it.
            Self::Thread(_) => {}
        }
    }
}
