//! From what a peer asks for to a connected socket: check, look up, check each
//! address, dial those.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use alknet_session::UnixSocketFile;
use alknet_socks5::upstream;
use alknet_ssh_policy::{Denied, Host, canonical};
use russh::ChannelOpenFailure;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::by_monitor::ByMonitor;
use super::socket::Socket;
use crate::connection::open_failure::OpenFailure;
use crate::server::egress::dial::dial;
use crate::server::egress::way_out::ConnectError;
use crate::server::session::context::SessionContext;
use crate::server::session::denial::{self, Asked};
use crate::server::state::access::{AccessError, Grant, Request};
use crate::server::state::server_state::ActiveConfig;

/// Why a channel was not connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error(transparent)]
    Refused(#[from] AccessError),
    #[error("the port {port} does not exist")]
    Port { port: u32 },
    #[error("the name could not be looked up: {0}")]
    LookUp(io::Error),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Link(io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl ForwardError {
    /// The reason code of RFC 4254 section 5.1.
    pub(super) fn code(&self) -> ChannelOpenFailure {
        match self {
            // Nobody could connect there.
            Self::Refused(AccessError::Denied(
                Denied::BadHost(_)
                | Denied::BadPort { .. }
                | Denied::BadPath(_)
                | Denied::NoAddress,
            )) => ChannelOpenFailure::ConnectFailed,
            Self::Refused(_) | Self::Link(_) => ChannelOpenFailure::AdministrativelyProhibited,
            Self::Connect(ConnectError::Io(error)) | Self::LookUp(error) if is_shortage(error) => {
                ChannelOpenFailure::ResourceShortage
            }
            Self::Port { .. } | Self::LookUp(_) | Self::Connect(_) | Self::TimedOut(_) => {
                ChannelOpenFailure::ConnectFailed
            }
        }
    }

    /// The answer to the peer: what is wrong with the target, or, where a rule
    /// forbids it, what would allow it.
    pub(super) fn answer(
        &self,
        to_our_client: bool,
        asked: Asked<'_>,
        id: &str,
    ) -> ChannelOpenFailure {
        let code = self.code();
        if let (ChannelOpenFailure::ConnectFailed, Some(reason)) = (&code, self.at_the_target()) {
            return reason.answer(to_our_client);
        }
        let reason = match (&code, self) {
            (ChannelOpenFailure::AdministrativelyProhibited, Self::Refused(refused)) => {
                denial::sentence(asked, refused, id)
            }
            (ChannelOpenFailure::AdministrativelyProhibited, Self::Link(error)) => {
                format!("the Unix socket is refused: {error}")
            }
            _ => return code,
        };
        ChannelOpenFailure::Other {
            code: code.code(),
            reason,
        }
    }

    fn at_the_target(&self) -> Option<OpenFailure> {
        use upstream::UpstreamError;
        match self {
            Self::Refused(AccessError::Denied(Denied::BadHost(_) | Denied::NoAddress))
            | Self::LookUp(_) => Some(OpenFailure::NoAddress),
            Self::TimedOut(_) => Some(OpenFailure::TimedOut),
            Self::Connect(ConnectError::Io(error)) => OpenFailure::of(error),
            Self::Connect(ConnectError::Proxy(error)) => match error {
                UpstreamError::Refused => Some(OpenFailure::Refused),
                UpstreamError::Unreachable => Some(OpenFailure::Unreachable),
                UpstreamError::TimedOut => Some(OpenFailure::TimedOut),
                _ => None,
            },
            Self::Refused(_) | Self::Link(_) | Self::Port { .. } => None,
        }
    }
}

impl From<Denied> for ForwardError {
    fn from(denied: Denied) -> Self {
        Self::Refused(denied.into())
    }
}

/// Whether the error means a lack of descriptors, ports, memory or buffers.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| codes.iter().any(|errno| errno.raw_os_error() == code))
}

/// Connects to a host that a peer asked for.
pub(super) async fn tcp(
    shared: &SessionContext,
    host: &str,
    port: u32,
) -> Result<(Socket, Grant), ForwardError> {
    let port = u16::try_from(port).map_err(|_| ForwardError::Port { port })?;
    let asked = Host::parse(host).map_err(Denied::from)?;
    shared
        .access
        .decide(|policy, subject| policy.forward_possible(subject, &asked, port))?;
    // As configured now, however old the session is.
    let active = shared.core.active();
    let time_limit = connect_timeout(&active);
    let connected = async {
        let allowed = allowed_addresses(shared, host, &asked, port).await?;
        dial(&allowed, |address| {
            active
                .egress
                .connect(address, shared.core.resolver.as_ref())
        })
        .await
        .map_err(ForwardError::Connect)
    };
    let (stream, address) = timeout(time_limit, connected)
        .await
        .map_err(|_| ForwardError::TimedOut(time_limit))??;
    // Asked again: the permissions may have changed in the meantime.
    let grant = shared.access.grant(Request::Forward {
        host: asked,
        port,
        address: address.ip(),
    })?;
    Ok((stream.into(), grant))
}

/// The addresses to dial, each checked; they are never looked up again.
async fn allowed_addresses(
    shared: &SessionContext,
    text: &str,
    asked: &Host,
    port: u16,
) -> Result<Vec<SocketAddr>, ForwardError> {
    let found = match asked {
        Host::Address(address) if !text.contains('%') => vec![SocketAddr::new(*address, port)],
        Host::Name(name) => look_up(shared, name, port).await?,
        // The system knows what a zone is.
        Host::Address(_) => {
            let bare = text.trim_start_matches('[').trim_end_matches(']');
            look_up(shared, bare, port).await?
        }
    };
    let found: Vec<SocketAddr> = found.into_iter().map(canonical_socket).collect();
    let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    let allowed = shared
        .access
        .decide(|policy, subject| policy.forward_all(subject, asked, port, &addresses))?;
    Ok(found
        .into_iter()
        .filter(|address| allowed.iter().any(|(allowed, _)| *allowed == address.ip()))
        .collect())
}

async fn look_up(
    shared: &SessionContext,
    name: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ForwardError> {
    let slot = shared.core.look_ups.slot(&shared.identity()).await;
    let found = shared.core.resolver.resolve(name, port, slot).await;
    found.map_err(ForwardError::LookUp)
}

fn connect_timeout(active: &ActiveConfig) -> Duration {
    Duration::from_secs(active.config.forwarding.connect_timeout_seconds.into())
}

/// The address in the form that is checked, which is also dialled; a zone
/// stays.
fn canonical_socket(address: SocketAddr) -> SocketAddr {
    let ip = canonical(address.ip());
    if ip == address.ip() {
        address
    } else {
        SocketAddr::new(ip, address.port())
    }
}

/// Connects to a Unix socket that a peer asked for. What is found is checked,
/// and what was checked is connected to.
pub(super) async fn unix(
    shared: &SessionContext,
    path: String,
) -> Result<(Socket, Grant), ForwardError> {
    // Asked first without a look at the file system.
    let (granted, _) = shared
        .access
        .decide(|policy, subject| policy.streamlocal(subject, &path))?;
    let beneath = granted.directory().map(Path::new);
    let by_monitor = ByMonitor::new(shared, Path::new(&path), beneath).map_err(ConnectError::Io)?;
    if let Some(by_monitor) = by_monitor {
        let found = by_monitor.find().await.map_err(ConnectError::Io)?;
        let grant = shared.access.grant(Request::StreamLocal {
            found: Some(found.path().to_owned()),
            path,
        })?;
        let stream = found.connect().await.map_err(ConnectError::Io)?;
        return Ok((stream.into(), grant));
    }
    let file = UnixSocketFile::open(Path::new(&path), beneath).map_err(not_opened)?;
    let grant = shared.access.grant(Request::StreamLocal {
        found: Some(file.real_path().map_err(ConnectError::Io)?),
        path,
    })?;
    let timeout_after = connect_timeout(&shared.core.active());
    let stream = timeout(timeout_after, connect_to_file(&file))
        .await
        .map_err(|_| ForwardError::TimedOut(timeout_after))?
        .map_err(ConnectError::Io)?;
    Ok((stream.into(), grant))
}

/// The pause before a listener without room is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

async fn connect_to_file(file: &UnixSocketFile) -> io::Result<UnixStream> {
    loop {
        match file.connect() {
            Ok(socket) => return UnixStream::from_std(StdUnixStream::from(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(BETWEEN_TRIES).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a link is in the way, which [`alknet_session`] says in words of its
/// own, or the system says no.
fn not_opened(error: io::Error) -> ForwardError {
    match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            ForwardError::Link(error)
        }
        _ => ConnectError::Io(error).into(),
    }
}
