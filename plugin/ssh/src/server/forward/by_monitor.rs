//! Unix sockets with the rights of a peer rather than the node's: the monitor
//! opens and binds them for guests and for peers with accounts.

use std::io;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;
use std::time::Duration;

use alknet_session::{AsyncSocket, Mode, UnixTarget};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::server::process::{BoundUnix, FoundUnix, Monitor, MonitorError};
use crate::server::session::context::SessionContext;
use crate::server::session::peer;

/// The time after which the monitor counts as not answering: it answers sooner,
/// whatever the file system.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to the monitor for a Unix socket of a peer.
pub(super) struct ByMonitor<'a> {
    monitor: &'a Monitor,
    target: UnixTarget,
}

/// The path of a socket that the monitor has bound; removed when dropped.
#[derive(Debug)]
pub(super) struct MonitoredPath {
    _request: AsyncSocket,
}

impl<'a> ByMonitor<'a> {
    /// `None` where the socket is opened with the node's own rights: for peers
    /// that are not confined, and where there is no monitor.
    ///
    /// # Errors
    /// When the peer has no rights of its own here: no account, or nothing can
    /// confine it.
    pub(super) fn new(
        shared: &'a SessionContext,
        path: &Path,
        beneath: Option<&Path>,
    ) -> io::Result<Option<Self>> {
        let launcher = shared.core.launcher.as_ref();
        let monitor = launcher.and_then(|launcher| launcher.monitor());
        let (Some(monitor), Some(holder)) = (monitor, shared.access.holder()) else {
            return Ok(None);
        };
        let confinement = peer::confinement(&monitor.context, &holder).map_err(io::Error::other)?;
        if monitor.context.mode == Mode::Owner && confinement.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            monitor,
            target: UnixTarget {
                identity: holder.identity.id,
                account: holder.account,
                confinement,
                path: path.to_owned(),
                beneath: beneath.map(Path::to_owned),
            },
        }))
    }

    /// Whether the peer is a guest.
    pub(super) fn is_confined(&self) -> bool {
        self.target.confinement.is_some()
    }

    /// Finds the socket to connect to.
    pub(super) async fn find(self) -> io::Result<Found> {
        answered(self.monitor.find_unix(self.target))
            .await
            .map(Found)
    }

    /// Finds the place to listen at.
    pub(super) async fn find_place(self) -> io::Result<Found> {
        answered(self.monitor.find_place(self.target))
            .await
            .map(Found)
    }
}

/// A path that the monitor has found and neither connected to nor bound.
pub(super) struct Found(FoundUnix);

impl Found {
    /// The real path, without links.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Has the monitor connect to it.
    pub(super) async fn connect(self) -> io::Result<UnixStream> {
        let socket = StdUnixStream::from(answered(self.0.connect()).await?);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    }

    /// Has the monitor listen there.
    pub(super) async fn listen(self) -> io::Result<(UnixListener, MonitoredPath)> {
        let BoundUnix { listener, request } = answered(self.0.listen()).await?;
        let listener = StdUnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let bound = MonitoredPath { _request: request };
        Ok((UnixListener::from_std(listener)?, bound))
    }
}

async fn answered<T>(asked: impl Future<Output = Result<T, MonitorError>>) -> io::Result<T> {
    match timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(MonitorError::into_io),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
