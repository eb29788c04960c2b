//! The listeners of the client: TCP ports and Unix sockets.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::{TcpListener, UnixListener};

use super::stream::BoxEnd;
use crate::options::forward_spec::Listen;

/// A listening socket of ours.
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens as `listen` says. Without an address these are the loopback
    /// addresses, or all addresses if the listener is to be `open` to others.
    pub(crate) async fn bind(listen: &Listen, open: bool) -> Result<Vec<Self>, ListenError> {
        match listen {
            Listen::Unix(path) => Ok(vec![bind_unix(path)?]),
            Listen::Tcp { bind, port } => {
                let (first, second) = match bind.as_deref() {
                    None if open => ALL,
                    Some("" | "*") => ALL,
                    None | Some("localhost") => LOOPBACK,
                    Some(host) => return bind_host(host, *port).await,
                };
                let first_bound = bind_tcp(SocketAddr::new(first, *port));
                // A port that the system chose is to be the same for both.
                let port = first_bound.as_ref().map_or(*port, Self::port);
                match (first_bound, bind_tcp(SocketAddr::new(second, port))) {
                    (Ok(first), Ok(second)) => Ok(vec![first, second]),
                    // No IPv4 or IPv6 here.
                    (Ok(bound), Err(ListenError::Address { .. }))
                    | (Err(ListenError::Address { .. }), Ok(bound)) => Ok(vec![bound]),
                    // One socket does for both.
                    (Ok(bound), Err(ListenError::Busy { .. })) if bound.is_open() => {
                        Ok(vec![bound])
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                }
            }
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<BoxEnd> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // What is forwarded may be key strokes.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }

    /// Whether other machines can reach it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Tcp(_, addr) if !addr.ip().is_loopback())
    }

    fn port(&self) -> u16 {
        match self {
            Self::Tcp(_, addr) => addr.port(),
            Self::Unix(..) => 0,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, addr) => addr.fmt(f),
            Self::Unix(_, SocketFile(path)) => write!(f, "{}", path.display()),
        }
    }
}

/// The file of a Unix socket, removed when dropped.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "cannot listen on {addr}: another process does (`ss -ltnp` names it). Stop it or choose another port"
    )]
    Busy { addr: SocketAddr },
    #[error("cannot listen on {addr}: no permission. Choose a port of 1024 or above")]
    Permission { addr: SocketAddr },
    #[error("cannot listen on {addr}: this machine has no such address")]
    Address { addr: SocketAddr },
    #[error("cannot listen on {addr}: {source}")]
    Tcp { addr: SocketAddr, source: io::Error },
    #[error("cannot listen on {host:?}: it cannot be resolved ({source})")]
    Resolve { host: String, source: io::Error },
    #[error(
        "cannot listen on {}: it exists. Remove it if nobody uses it", .path.display()
    )]
    Exists { path: PathBuf },
    #[error("cannot listen on {}: {source}", .path.display())]
    Unix { path: PathBuf, source: io::Error },
}

const LOOPBACK: (IpAddr, IpAddr) = (
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
);
/// The unspecified addresses, IPv6 first: on most systems it takes IPv4 too.
const ALL: (IpAddr, IpAddr) = (
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
);

async fn bind_host(host: &str, port: u16) -> Result<Vec<Listener>, ListenError> {
    let unresolved = |source| ListenError::Resolve {
        host: host.to_owned(),
        source,
    };
    let found = tokio::net::lookup_host((host, port)).await;
    let mut found: Vec<SocketAddr> = found.map_err(unresolved)?.collect();
    found.dedup();
    if found.is_empty() {
        return Err(unresolved(io::ErrorKind::NotFound.into()));
    }
    found.into_iter().map(bind_tcp).collect()
}

fn bind_tcp(addr: SocketAddr) -> Result<Listener, ListenError> {
    let bound = std::net::TcpListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok(Listener::Tcp(TcpListener::from_std(listener)?, addr))
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Busy { addr },
        io::ErrorKind::PermissionDenied => ListenError::Permission { addr },
        io::ErrorKind::AddrNotAvailable => ListenError::Address { addr },
        _ if source.raw_os_error() == Some(NO_SUCH_FAMILY) => ListenError::Address { addr },
        _ => ListenError::Tcp { addr, source },
    })
}

const NO_SUCH_FAMILY: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();

/// Binds a Unix socket for the owner alone, as ssh does (StreamLocalBindMask).
fn bind_unix(path: &Path) -> Result<Listener, ListenError> {
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let path = path.to_owned();
    match bound {
        Ok(listener) => Ok(Listener::Unix(listener, SocketFile(path))),
        Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
            Err(ListenError::Exists { path })
        }
        Err(source) => Err(ListenError::Unix { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn bind(spec: &str) -> Result<Vec<Listener>, ListenError> {
        Listener::bind(&spec.parse().unwrap(), false).await
    }

    #[tokio::test]
    async fn without_an_address_only_this_machine_gets_in() {
        for spec in ["0", "localhost:0", "127.0.0.1:0"] {
            let listeners = bind(spec).await.unwrap();
            assert!(!listeners.iter().any(Listener::is_open), "{spec}");
            let port = listeners[0].port();
            assert!(listeners.iter().all(|listener| listener.port() == port));
        }
        for spec in ["*:0", ":0", "0.0.0.0:0"] {
            assert!(bind(spec).await.unwrap()[0].is_open(), "{spec}");
        }
        let everyone = Listener::bind(&"0".parse().unwrap(), true).await.unwrap();
        assert!(everyone[0].is_open());
    }

    #[tokio::test]
    async fn a_port_or_socket_in_use_is_named() {
        let first = bind("127.0.0.1:0").await.unwrap();
        let spec = first[0].to_string();
        let error = bind(&spec).await.err().unwrap().to_string();
        assert!(
            error.contains(&spec) && error.contains("another port"),
            "{error}"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listen = Listen::Unix(path.clone());
        let first = Listener::bind(&listen, false).await.unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = Listener::bind(&listen, false).await.err().unwrap();
        assert!(error.to_string().contains("it exists"), "{error}");
        drop(first);
        assert!(!path.exists(), "it goes with its listener");
    }
}
