//! Listeners on behalf of a peer (RFC 4254 section 7.1, OpenSSH PROTOCOL
//! section 2.4).

use std::collections::HashMap;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alknet_session::{BoundPath, UnixSocketPlace};
use alknet_ssh_policy::listen_addresses;
use russh::Channel;
use russh::server::{Handle, Msg};
use socket2::{Domain, Socket as Socket2, Type};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::by_monitor::{ByMonitor, MonitoredPath};
use super::socket::Socket;
use super::{connect, host_and_port, pump, say_how_it_ended};
use crate::server::audit::About;
use crate::server::channel::input::Input;
use crate::server::metrics::{ChannelKind, Verdict};
use crate::server::session::context::{ChannelSlot, SessionContext};
use crate::server::state::access::{AccessError, Grant, Request};
use crate::server::state::listeners::Name;
use crate::server::state::sessions::LiveSession;
use crate::server::status::{Live, count};

/// The backlog of listen(2), the same that tokio uses.
const BACKLOG: i32 = 1024;
/// The number of tries to find a port that is free for all addresses of a name.
const TRIES: usize = 8;
/// The pause after a failed accept(2), most likely for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The listeners of one SSH connection.
#[derive(Default)]
pub(crate) struct Listeners {
    by_name: HashMap<Name, Entry>,
    agent: Option<(PathBuf, Entry)>,
}

/// A listener for as long as the entry lives, or less.
struct Entry {
    end: DropGuard,
    gone: CancellationToken,
}

/// Why a listener was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Refused(#[from] AccessError),
    #[error("the port {port} does not exist")]
    Port { port: u32 },
    #[error("the connection has as many listeners as /limits/max_listeners allows")]
    TooMany,
    #[error("the connection listens there already")]
    Twice,
    #[error("cannot listen: {0}")]
    Io(#[from] io::Error),
}

impl ListenError {
    /// Whether it is forbidden, rather than not to be had.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(_) => Verdict::Denied,
            Self::Port { .. } | Self::TooMany | Self::Twice | Self::Io(_) => Verdict::Failed,
        }
    }
}

impl Listeners {
    /// Listens for `tcpip-forward`; gives the port.
    ///
    /// # Errors
    /// When that is not granted, or the address cannot be bound.
    pub(crate) async fn tcp(
        &mut self,
        asked: &str,
        port: u32,
        handle: Handle,
        shared: &Arc<SessionContext>,
    ) -> Result<u16, ListenError> {
        let port = u16::try_from(port).map_err(|_| ListenError::Port { port })?;
        let granted = granted(shared, asked, port)?;
        let addresses: Vec<IpAddr> = granted.into_iter().map(|(address, _)| address).collect();
        let name = |port| Name::Tcp {
            asked: asked.to_owned(),
            port,
        };
        self.check(&name(port), shared)?;
        let bound = match bind_all(shared, asked, &addresses, port) {
            Err(ListenError::Io(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                let all = &shared.core.listeners;
                if !all.release(&name(port), shared.as_ref()).await {
                    return Err(error.into());
                }
                bind_all(shared, asked, &addresses, port)
            }
            bound => bound,
        };
        let (sockets, port) = bound?;
        let together = Together::new(handle, shared);
        for (socket, grant) in sockets {
            let listener = Listener::Tcp(TcpListener::from_std(socket)?);
            let asked = asked.to_owned();
            together.accept(listener, Origin::Tcp { asked, port }, grant);
        }
        self.insert(name(port), together);
        Ok(port)
    }

    /// Ends what [`tcp`](Self::tcp) began; connections that came in stay.
    /// Once it resolves, the port is free. Whether there was such a listener.
    pub(crate) async fn cancel_tcp(&mut self, asked: &str, port: u32) -> bool {
        let Ok(port) = u16::try_from(port) else {
            return false;
        };
        let asked = asked.to_owned();
        self.cancel(&Name::Tcp { asked, port }).await
    }

    /// Listens for `streamlocal-forward@openssh.com`.
    ///
    /// # Errors
    /// When that is not granted, or the address cannot be bound.
    pub(crate) async fn unix(
        &mut self,
        path: &str,
        handle: Handle,
        shared: &Arc<SessionContext>,
    ) -> Result<(), ListenError> {
        // Asked first without a look at the file system.
        let (granted, _) = shared
            .access
            .decide(|policy, subject| policy.streamlocal(subject, path))?;
        let beneath = granted.directory().map(Path::new);
        let name = Name::Unix {
            path: path.to_owned(),
        };
        self.check(&name, shared)?;
        let grant = |found| {
            shared.access.grant(Request::StreamLocal {
                path: path.to_owned(),
                found: Some(found),
            })
        };
        let bind = async || -> Result<_, ListenError> {
            Ok(match ByMonitor::new(shared, Path::new(path), beneath)? {
                Some(by_monitor) => {
                    let found = by_monitor.find_place().await?;
                    let grant = grant(found.path().to_owned())?;
                    let (listener, bound) = found.listen().await?;
                    (Listener::Monitored(listener, bound), grant)
                }
                None => {
                    let place = UnixSocketPlace::open(Path::new(path), beneath)?;
                    let grant = grant(place.real_path()?)?;
                    let (listener, file) = listen_in(place)?;
                    (Listener::Unix(listener, file), grant)
                }
            })
        };
        let bound = match bind().await {
            Err(ListenError::Io(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                if !shared.core.listeners.release(&name, shared.as_ref()).await {
                    return Err(error.into());
                }
                bind().await
            }
            bound => bound,
        };
        let (listener, grant) = bound?;
        let together = Together::new(handle, shared);
        let path = path.to_owned();
        together.accept(listener, Origin::Unix { path }, grant);
        self.insert(name, together);
        Ok(())
    }

    fn insert(&mut self, name: Name, together: Together) {
        let session: Arc<dyn LiveSession> = Arc::<SessionContext>::clone(&together.shared);
        together.shared.core.listeners.add(
            name.clone(),
            &session,
            together.cancelled.clone(),
            together.gone.clone(),
        );
        self.by_name.insert(name, together.entry());
    }

    /// Ends what [`unix`](Self::unix) began; once it resolves, the path is free.
    pub(crate) async fn cancel_unix(&mut self, path: &str) -> bool {
        let path = path.to_owned();
        self.cancel(&Name::Unix { path }).await
    }

    async fn cancel(&mut self, name: &Name) -> bool {
        match self.by_name.remove(name) {
            Some(entry) => {
                entry.end().await;
                true
            }
            None => false,
        }
    }

    /// Listens for the peer's agent, once: on a socket in a directory that only
    /// the node's user can enter, or on one of the peer's account. A guest has
    /// no way to a Unix socket.
    ///
    /// # Errors
    /// When that is not granted, or the address cannot be bound.
    pub(crate) async fn agent(
        &mut self,
        handle: Handle,
        shared: &Arc<SessionContext>,
    ) -> Result<(), ListenError> {
        let grant = shared.access.grant(Request::Agent)?;
        if self.agent_socket().is_some() {
            return Ok(());
        }
        let name = format!("alknet-agent-{:032x}", random_number()?);
        let path = std::env::temp_dir().join(name);
        if let Some(by_monitor) = ByMonitor::new(shared, &path, None)? {
            if by_monitor.is_confined() {
                return Err(AccessError::Confined.into());
            }
            let found = by_monitor.find_place().await?;
            let path = found.path().to_owned();
            let (listener, bound) = found.listen().await?;
            let together = Together::new(handle, shared);
            let listener = Listener::Monitored(listener, bound);
            together.accept(listener, Origin::Agent, grant);
            self.agent = Some((path, together.entry()));
            return Ok(());
        }
        let directory = tempfile::Builder::new()
            .prefix("alknet-agent-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let path = std::fs::canonicalize(directory.path())?.join("agent");
        let (listener, file) = listen_in(UnixSocketPlace::open(&path, None)?)?;
        let together = Together::new(handle, shared);
        let listener = Listener::Agent(listener, file, directory);
        together.accept(listener, Origin::Agent, grant);
        self.agent = Some((path, together.entry()));
        Ok(())
    }

    /// The path of the socket of the peer's agent; `None` while it does not
    /// listen.
    pub(crate) fn agent_socket(&self) -> Option<PathBuf> {
        let (path, entry) = self.agent.as_ref()?;
        entry.is_accepting().then(|| path.clone())
    }

    fn check(&mut self, name: &Name, shared: &SessionContext) -> Result<(), ListenError> {
        self.by_name.retain(|_, entry| entry.is_accepting());
        if self.by_name.contains_key(name) {
            Err(ListenError::Twice)
        } else if self.by_name.len() >= shared.active.config.limits.max_listeners as usize {
            Err(ListenError::TooMany)
        } else {
            Ok(())
        }
    }
}

/// Listeners under one name, which end together.
struct Together {
    handle: Handle,
    shared: Arc<SessionContext>,
    cancelled: CancellationToken,
    gone: CancellationToken,
    /// Says [`gone`](Self::gone) with the last of them.
    accepting: Arc<DropGuard>,
}

impl Together {
    fn new(handle: Handle, shared: &Arc<SessionContext>) -> Self {
        let gone = CancellationToken::new();
        Self {
            handle,
            shared: Arc::clone(shared),
            cancelled: CancellationToken::new(),
            accepting: Arc::new(gone.clone().drop_guard()),
            gone,
        }
    }

    fn accept(&self, listener: Listener, origin: Origin, grant: Grant) {
        let accepting = Accepting {
            origin,
            grant: Arc::new(grant),
            cancelled: self.cancelled.clone(),
            handle: self.handle.clone(),
            shared: Arc::clone(&self.shared),
            _accepting: Arc::clone(&self.accepting),
        };
        self.shared.listeners.spawn(accepting.run(listener));
    }

    fn entry(self) -> Entry {
        Entry {
            end: self.cancelled.drop_guard(),
            gone: self.gone,
        }
    }
}

impl Entry {
    fn is_accepting(&self) -> bool {
        !self.gone.is_cancelled()
    }

    /// Resolves when the sockets are closed. They wait for nothing, so neither
    /// does this for longer than their task takes to run.
    async fn end(self) {
        let Self { end, gone } = self;
        drop(end);
        gone.cancelled().await;
    }
}

fn random_number() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u128::from_be_bytes(bytes))
}

fn listen_in(place: UnixSocketPlace) -> io::Result<(UnixListener, BoundPath)> {
    let (socket, path) = place.bind()?;
    let listener = UnixListener::from_std(StdUnixListener::from(socket))?;
    Ok((listener, path))
}

/// The addresses that `asked` stands for and that are granted.
fn granted(
    shared: &SessionContext,
    asked: &str,
    port: u16,
) -> Result<Vec<(IpAddr, Grant)>, AccessError> {
    let mut grants = Vec::new();
    let mut refused = None;
    for bind in listen_addresses(asked)? {
        let request = Request::Listen {
            asked: asked.to_owned(),
            port,
            bind,
            found: None,
        };
        match shared.access.grant(request) {
            Ok(grant) => grants.push((bind, grant)),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if grants.is_empty() => Err(error),
        _ => Ok(grants),
    }
}

type Bound = (StdListener, Grant);

/// Binds all addresses to the same port. Where the peer wants any, one is found
/// that is free for all of them and that no rule denies.
fn bind_all(
    shared: &SessionContext,
    asked: &str,
    addresses: &[IpAddr],
    port: u16,
) -> Result<(Vec<Bound>, u16), ListenError> {
    if port != 0 {
        let (sockets, port) = try_bind(addresses, port)?;
        let mut granted = granted(shared, asked, port)?;
        let mut bound = Vec::new();
        for (socket, bind) in sockets.into_iter().zip(addresses) {
            let grant = granted.iter().position(|(address, _)| address == bind);
            let grant = grant.map(|at| granted.swap_remove(at).1);
            bound.extend(socket.zip(grant));
        }
        return Ok((bound, port));
    }
    let mut failure = None;
    for _ in 0..TRIES {
        let (sockets, found) = match try_bind(addresses, 0) {
            Ok(bound) => bound,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                failure = Some(ListenError::Io(error));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut bound = Vec::new();
        for (socket, bind) in sockets.into_iter().zip(addresses) {
            let request = Request::Listen {
                asked: asked.to_owned(),
                port,
                bind: *bind,
                found: Some(found),
            };
            match (socket, shared.access.grant(request)) {
                (Some(socket), Ok(grant)) => bound.push((socket, grant)),
                (Some(_), Err(refused)) => failure = Some(refused.into()),
                (None, _) => {}
            }
        }
        if !bound.is_empty() {
            return Ok((bound, found));
        }
    }
    Err(failure.unwrap_or_else(|| ListenError::Io(io::ErrorKind::AddrInUse.into())))
}

/// One socket for each address that this machine has, and their port.
fn try_bind(addresses: &[IpAddr], mut port: u16) -> io::Result<(Vec<Option<StdListener>>, u16)> {
    let mut sockets = Vec::new();
    let mut absent = None;
    for address in addresses {
        match bind(SocketAddr::new(*address, port)) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(Some(socket));
            }
            Err(error) if is_absent(&error) => {
                absent = Some(error);
                sockets.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(error) if sockets.iter().all(Option::is_none) => Err(error),
        _ => Ok((sockets, port)),
    }
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket2::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Both families have a socket of their own.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether the error means that the machine does not have the address, or its
/// family.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The listener's name that the peer is told with each connection.
#[derive(Clone)]
enum Origin {
    Tcp { asked: String, port: u16 },
    Unix { path: String },
    Agent,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { asked, port } => f.write_str(&host_and_port(asked, (*port).into())),
            Self::Unix { path } => f.write_str(path),
            Self::Agent => f.write_str("agent"),
        }
    }
}

/// One listening socket.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code)] BoundPath),
    Monitored(UnixListener, #[allow(dead_code)] MonitoredPath),
    Agent(
        UnixListener,
        #[allow(dead_code)] BoundPath,
        #[allow(dead_code)] TempDir,
    ),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok((stream.into(), from))
            }
            Self::Unix(listener, _) | Self::Monitored(listener, _) | Self::Agent(listener, ..) => {
                let (stream, _) = listener.accept().await?;
                // Not told to the peer.
                let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                Ok((stream.into(), nobody))
            }
        }
    }
}

/// What the task of a listener needs to accept connections.
struct Accepting {
    origin: Origin,
    grant: Arc<Grant>,
    cancelled: CancellationToken,
    handle: Handle,
    shared: Arc<SessionContext>,
    _accepting: Arc<DropGuard>,
}

impl Accepting {
    async fn run(self, listener: Listener) {
        let _live = Live::new(&self.shared.counters.listeners);
        while let Some((socket, from)) = self.next(&listener).await {
            self.forward(socket, from);
        }
        // Closed before `self` says so.
        drop(listener);
    }

    /// The next connection; `None` when the listener's time is over.
    async fn next(&self, listener: &Listener) -> Option<(Socket, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.cancelled.cancelled() => return None,
                () = self.shared.over.cancelled() => return None,
                () = self.grant.revoked() => {
                    tracing::info!(
                        target: "alknet_ssh::policy",
                        remote_addr = %crate::server::display::Peer(self.shared.origin.peer),
                        "closed a listener: it is no longer permitted"
                    );
                    return None;
                }
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::debug!(%error, "a listener could not accept");
                    if connect::is_shortage(&error) {
                        sleep(BREATH).await;
                    }
                }
            }
        }
    }

    fn forward(&self, socket: Socket, from: SocketAddr) {
        let Some(place) = self.shared.channel_slot() else {
            tracing::debug!("a forwarded connection was dropped: no channel is free");
            return;
        };
        self.shared.channels.spawn(forwarded(
            self.origin.clone(),
            socket,
            from,
            self.handle.clone(),
            Arc::clone(&self.grant),
            Arc::clone(&self.shared),
            place,
        ));
    }
}

/// Offers a connection to the peer and carries its bytes.
async fn forwarded(
    origin: Origin,
    socket: Socket,
    from: SocketAddr,
    handle: Handle,
    grant: Arc<Grant>,
    shared: Arc<SessionContext>,
    _place: ChannelSlot,
) {
    let kind = match origin {
        Origin::Tcp { .. } => ChannelKind::ForwardedTcpip,
        Origin::Unix { .. } => ChannelKind::ForwardedStreamLocal,
        Origin::Agent => ChannelKind::Agent,
    };
    let metrics = &shared.counters.metrics;
    let opened = tokio::select! {
        opened = open(&handle, &origin, from) => opened,
        () = shared.over.cancelled() => return,
    };
    let destination = || origin.to_string();
    let about = About {
        kind,
        destination: match origin {
            Origin::Agent => None,
            Origin::Tcp { .. } | Origin::Unix { .. } => Some(&destination),
        },
    };
    let channel = match opened {
        Ok(channel) => channel,
        Err(error) => {
            metrics.channel(kind, Verdict::Failed);
            shared.audit.not_opened(&about, Verdict::Failed, &error);
            tracing::debug!(%error, "the peer refused a forwarded connection");
            return;
        }
    };
    metrics.channel(kind, Verdict::Granted);
    count(&shared.counters.forwards_total);
    let _live = Live::new(&shared.counters.forwards);
    let queue = shared.windows().open(channel.id().into());
    let (reader, writer) = channel.split();
    let input = Input::new(writer.id(), reader, queue, Arc::clone(&shared), &about);
    let end = pump::run(input, &writer, socket, grant.token(), &shared).await;
    say_how_it_ended(&shared, kind, &end);
}

async fn open(
    handle: &Handle,
    origin: &Origin,
    from: SocketAddr,
) -> Result<Channel<Msg>, russh::Error> {
    match origin {
        Origin::Tcp { asked, port } => {
            let port = u32::from(*port);
            let (address, from_port) = (from.ip().to_string(), u32::from(from.port()));
            handle
                .channel_open_forwarded_tcpip(asked, port, address, from_port)
                .await
        }
        Origin::Unix { path } => handle.channel_open_forwarded_streamlocal(path).await,
        Origin::Agent => handle.channel_open_agent().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_get_the_same_free_port() {
        let addresses = listen_addresses("localhost").unwrap();
        let (sockets, port) = try_bind(&addresses, 0).unwrap();
        assert_ne!(port, 0);
        for socket in sockets.into_iter().flatten() {
            assert_eq!(socket.local_addr().unwrap().port(), port);
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = try_bind(&["192.0.2.1".parse().unwrap()], 0).unwrap_err();
        assert!(is_absent(&error), "{error}");
    }

    #[test]
    fn a_port_that_is_taken_for_one_address_is_taken() {
        let (_taken, port) = try_bind(&[Ipv4Addr::LOCALHOST.into()], 0).unwrap();
        let error = try_bind(&listen_addresses("localhost").unwrap(), port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
