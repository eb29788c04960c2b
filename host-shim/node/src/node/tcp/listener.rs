//! The TCP listener: accepts connections and hands each to the handler of one
//! ALPN.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{AuthContext, Connection};
use alknet_loader::Registry;
use rustix::net::sockopt::set_socket_keepalive;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::TcpConnection;
use crate::node::admission::{Admission, Transport};
use crate::node::endpoint::hand_over;

/// The number of connections that the system may accept ahead of the node.
const BACKLOG: u32 = 1024;
/// The number of bytes that may wait in a socket to be sent, beyond those under
/// way. Further data waits in its channel, where a keystroke overtakes it.
const UNSENT: u32 = 128 * 1024;
/// The pauses after a failed accept double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A TCP socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    alpn: Vec<u8>,
}

impl Listener {
    /// Listens at `addr` for connections to the handler of `alpn`. Must be
    /// called inside a tokio runtime.
    pub(crate) fn bind(addr: SocketAddr, alpn: &str) -> Result<Self, TcpBindError> {
        let bind = || {
            let socket = match addr {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // A restart need not wait for the last connections to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let listener = socket.listen(BACKLOG)?;
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        };
        let (listener, addr) = bind().map_err(|source: io::Error| TcpBindError { addr, source })?;
        Ok(Self {
            listener,
            addr,
            alpn: alpn.as_bytes().to_vec(),
        })
    }

    /// The address that the listener is bound to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts until told to stop, then waits for the connections there are.
    pub(crate) async fn accept(
        self,
        registry: Arc<Registry>,
        admission: Arc<Admission>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Self { listener, alpn, .. } = self;
        let mut connections = JoinSet::new();
        let mut pause = Pause::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((socket, remote_addr)) => {
                    pause.over();
                    let Ok(admitted) = admission.admit(Some(remote_addr), Transport::Tcp) else {
                        continue;
                    };
                    let registry = Arc::clone(&registry);
                    // A future that is awaited by another is in it twice.
                    let serving = Box::pin(serve(socket, remote_addr, alpn.clone(), registry));
                    connections.spawn(async move {
                        serving.await;
                        drop(admitted);
                    });
                }
                Err(error) if concerns_one_connection(&error) => {
                    tracing::debug!(%error, "a TCP connection ended before it was accepted");
                }
                Err(error) => {
                    let pause = tokio::time::sleep(pause.after(&error));
                    tokio::select! {
                        () = pause => {}
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Why the node cannot listen on TCP.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {addr}: {source}{}", remedy(source))]
pub struct TcpBindError {
    /// The address asked for.
    addr: SocketAddr,
    /// What the system said.
    source: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there, stop it or choose another port for tcp_listen"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege, choose a higher one for tcp_listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have that address, correct tcp_listen"
        }
        _ => "",
    }
}

/// Whether only the connection that was to be accepted failed (accept(2) on
/// Linux passes on errors of the network).
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

/// Waits longer while accepting goes on to fail, as it does without free
/// descriptors, and says so once.
#[derive(Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn after(&mut self, error: &io::Error) -> Duration {
        let pause = match self.0 {
            None => {
                tracing::warn!(%error, "cannot accept TCP connections; trying again");
                FIRST_PAUSE
            }
            Some(last) => (last * 2).min(LAST_PAUSE),
        };
        self.0 = Some(pause);
        pause
    }

    fn over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("TCP connections are accepted again");
        }
    }
}

async fn serve(socket: TcpStream, remote_addr: SocketAddr, alpn: Vec<u8>, registry: Arc<Registry>) {
    // Neither failing is a reason to turn the peer away.
    let _ = socket.set_nodelay(true);
    let _ = set_socket_keepalive(&socket, true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
    let Some(generation) = registry.enter(&alpn) else {
        tracing::debug!(
            %remote_addr,
            alpn = %String::from_utf8_lossy(&alpn),
            "no plugin serves what TCP connections are for (tcp_alpn)"
        );
        return;
    };
    let local_addr = socket.local_addr().ok();
    let connection = Arc::new(TcpConnection::new(socket, remote_addr, alpn.clone()));
    let auth = AuthContext {
        identity: None,
        alpn,
        remote_addr: Some(remote_addr),
        local_addr,
        tls_client_fingerprint: None,
    };
    let shared = Arc::clone(&connection) as Arc<dyn Connection>;
    // What went wrong was logged, and TCP has no way to tell the peer.
    let _ = hand_over(&generation, Transport::Tcp, shared, auth).await;
    drop(generation);
    connection.finish().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_start_anew() {
        let error = io::Error::other("no descriptors");
        let mut pause = Pause::default();
        assert_eq!(pause.after(&error), FIRST_PAUSE);
        for _ in 0..20 {
            pause.after(&error);
        }
        assert_eq!(pause.after(&error), LAST_PAUSE);
        pause.over();
        assert_eq!(pause.after(&error), FIRST_PAUSE);
    }

    #[tokio::test]
    async fn a_busy_port_is_named_with_the_remedy() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap(), "x").unwrap();
        let error = Listener::bind(first.addr(), "x").unwrap_err().to_string();
        assert!(error.contains(&first.addr().to_string()), "{error}");
        assert!(error.contains("tcp_listen"), "{error}");
    }
}
