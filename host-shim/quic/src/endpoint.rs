//! UDP endpoints of nodes and clients: binding, rebinding, and messages for
//! addresses that are not available.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{AsyncUdpSocket, EndpointConfig, Runtime as _, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use crate::client_socket::ClientSocket;
use crate::path_mtu;

/// Binds a node's endpoint. `[::]` takes IPv4 too where the system can. The
/// two configurations come from [`Server`](crate::Server).
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// When the address is not available; the message says what to do.
pub fn bind_endpoint(
    addr: SocketAddr,
    endpoint: EndpointConfig,
    server: quinn::ServerConfig,
) -> Result<quinn::Endpoint, BindError> {
    bind(addr, endpoint, Some(server)).map_err(|source| BindError::new(addr, source))
}

/// Binds an endpoint for a client that will talk to `peer`, on any free port.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// When the system gives out no socket of the peer's address family.
pub fn bind_client(peer: SocketAddr) -> Result<quinn::Endpoint, BindError> {
    let addr = any_port(peer);
    bind(addr, client_config(), None).map_err(|source| BindError::new(addr, source))
}

/// A client's endpoint that can ask its node again whatever QUIC's own timers
/// say.
#[derive(Debug)]
pub struct ClientEndpoint {
    endpoint: quinn::Endpoint,
    socket: Mutex<Arc<ClientSocket>>,
}

impl ClientEndpoint {
    /// Binds an endpoint for a client that will talk to `peer`, on any free
    /// port.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system gives out no socket of the peer's address family.
    pub fn bind(peer: SocketAddr) -> Result<Self, BindError> {
        let addr = any_port(peer);
        let bound = || {
            let socket = Arc::new(ClientSocket::new(system_socket(addr)?));
            let config = client_config();
            let shared = Arc::clone(&socket) as Arc<dyn AsyncUdpSocket>;
            let runtime = Arc::new(TokioRuntime);
            let endpoint =
                quinn::Endpoint::new_with_abstract_socket(config, None, shared, runtime)?;
            Ok(Self {
                endpoint,
                socket: Mutex::new(socket),
            })
        };
        bound().map_err(|source| BindError::new(addr, source))
    }

    /// The endpoint itself.
    pub fn quinn(&self) -> &quinn::Endpoint {
        &self.endpoint
    }

    /// Gives the endpoint another socket, on any free port. Its connections go
    /// on from there, and ask their peer at once (RFC 9000 section 9).
    ///
    /// # Errors
    /// When the system gives out no socket of the peer's address family.
    pub fn rebind(&self, peer: SocketAddr) -> Result<(), BindError> {
        let addr = any_port(peer);
        let moved = || {
            let socket = Arc::new(ClientSocket::new(system_socket(addr)?));
            let shared = Arc::clone(&socket) as Arc<dyn AsyncUdpSocket>;
            self.endpoint.rebind_abstract(shared)?;
            *self.socket() = socket;
            Ok(())
        };
        moved().map_err(|source| BindError::new(addr, source))
    }

    /// Changes to another free port without telling QUIC, for use while nothing
    /// is heard from the peer: nothing but [`resend`](Self::resend) is sent
    /// from the new port until the next packet.
    ///
    /// # Errors
    /// When the system gives out no socket of the peer's address family.
    pub fn change_port(&self, peer: SocketAddr) -> Result<(), BindError> {
        let addr = any_port(peer);
        let inner = system_socket(addr).map_err(|source| BindError::new(addr, source))?;
        self.socket().change(inner);
        Ok(())
    }

    /// Sends the last datagram again, as it was. A node that has it already
    /// takes no notice, one that has not acknowledges it at once, and one that
    /// has lost its connections, as in a crash, says so (RFC 9000 section
    /// 10.3), however long QUIC itself would wait before it sends anything.
    pub fn resend(&self) {
        self.socket().resend();
    }

    fn socket(&self) -> MutexGuard<'_, Arc<ClientSocket>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    path_mtu::take_large_packets(&mut config);
    config
}

fn system_socket(addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    TokioRuntime.wrap_udp_socket(udp_socket(addr)?)
}

fn any_port(peer: SocketAddr) -> SocketAddr {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// A UDP address that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error(
        "UDP {addr} is in use: another process listens there. Stop it (`ss -lunp` names it) or configure another port"
    )]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The process may not have the port.
    #[error(
        "no permission to listen on UDP {addr}: choose a port of 1024 or above, or grant the process CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error(
        "this machine has no address {}: listen on one that `ip addr` shows, or on all with [::]", addr.ip()
    )]
    NoSuchAddress {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Binding failed for another reason.
    #[error("cannot open UDP {addr}: {source}")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

impl BindError {
    fn new(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { addr },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { addr },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { addr },
            _ => Self::Other { addr, source },
        }
    }
}

/// The size in bytes of the socket's buffers, asked for in both directions. The
/// kernel may give less (`net.core.rmem_max`); with its usual 208 KiB a burst
/// overruns the socket and looks like loss.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

fn bind(
    addr: SocketAddr,
    config: EndpointConfig,
    server: Option<quinn::ServerConfig>,
) -> io::Result<quinn::Endpoint> {
    quinn::Endpoint::new(config, server, udp_socket(addr)?, Arc::new(TokioRuntime))
}

fn udp_socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.ip() == Ipv6Addr::UNSPECIFIED {
        // Some systems cannot; then it is IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_named_with_what_to_do() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let error = BindError::new(
            addr,
            bind(addr, EndpointConfig::default(), None).unwrap_err(),
        );
        assert!(matches!(error, BindError::InUse { addr: a } if a == addr));
        let text = error.to_string();
        assert!(text.contains(&addr.to_string()), "{text}");
        assert!(text.contains("another port"), "{text}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let addr = "192.0.2.1:0".parse().unwrap();
        let error = BindError::new(
            addr,
            bind(addr, EndpointConfig::default(), None).unwrap_err(),
        );
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
