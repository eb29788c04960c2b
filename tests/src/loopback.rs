//! Connections from other loopback addresses, as if from other machines.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use alknet_handler::BoxFuture;
use alknet_quic::{
    Client as QuicClient, ConnectError, QuicStream, TransportSettings, Trust, connect,
};
use alknet_ssh::client::{AskPassphrase, Identities, KeyFile};
use alknet_ssh::{Client, ClientError, ClientOptions};
use socket2::{Domain, Socket, Type};
use zeroize::Zeroizing;

use crate::{Dialled, HANG, TestKey, TestNode};

/// An address of this machine's loopback network, 127.0.0.0/8, from which a
/// test connects as if it were another machine.
#[derive(Clone, Copy, Debug)]
pub struct Loopback(pub u8);

impl Loopback {
    /// The address.
    pub fn ip(self) -> IpAddr {
        IpAddr::from([127, 0, 0, self.0])
    }

    /// A TCP connection to the node.
    ///
    /// # Errors
    /// When it is refused.
    pub fn tcp(self, node: &TestNode) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.ip(), 0).into())?;
        let addr = node.tcp.expect("the node listens on TCP");
        socket.connect(&addr.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANG))?;
        Ok(stream)
    }

    /// A QUIC connection to the node's SSH service.
    ///
    /// # Errors
    /// The error that the client sees.
    pub async fn quic(self, node: &TestNode) -> Result<Dialled, ConnectError> {
        self.quic_at(node, node.addr).await
    }

    /// A QUIC connection to a node that is reached at another address.
    ///
    /// # Errors
    /// The error that the client sees.
    pub async fn quic_at(self, node: &TestNode, at: SocketAddr) -> Result<Dialled, ConnectError> {
        let endpoint = quinn::Endpoint::client(SocketAddr::new(self.ip(), 0)).unwrap();
        let client = QuicClient {
            trust: Trust::Pinned(node.node_key),
            key: None,
            alpn: b"alknet/ssh".to_vec(),
            settings: TransportSettings::default(),
        };
        let connection = connect(&endpoint, at, &client).await?;
        Ok(Dialled {
            connection,
            endpoint,
        })
    }
}

/// Logs in on a new stream under any name with any key.
///
/// # Errors
/// Why that failed.
pub async fn log_in(
    node: &TestNode,
    dialled: &Dialled,
    user: &str,
    key: &TestKey,
) -> Result<Client, String> {
    let mut client = greet(node, dialled).await?;
    let proven = client.authenticate(user, key.ssh()).await;
    proven.map_err(|error| error.to_string())?;
    Ok(client)
}

/// Logs in with a key file and the certificate beside it.
///
/// # Errors
/// Why that failed.
pub async fn log_in_with_file(
    node: &TestNode,
    dialled: &Dialled,
    user: &str,
    file: &Path,
) -> Result<Client, String> {
    let mut client = greet(node, dialled).await?;
    let mut identities = Identities {
        files: vec![KeyFile::read(file).map_err(|error| error.to_string())?],
        ..Identities::default()
    };
    let proven = client.log_in(user, &mut identities, &Nobody).await;
    proven.map_err(|error| error.to_string())?;
    Ok(client)
}

/// An SSH connection on a new stream, on which nobody has logged in.
async fn greet(node: &TestNode, dialled: &Dialled) -> Result<Client, String> {
    let options = ClientOptions {
        timeout: Duration::from_secs(60),
        ..ClientOptions::default()
    };
    let expected = node.host_key.clone();
    let halves = dialled.connection.open_bi().await;
    let stream = QuicStream::new(halves.map_err(|error| error.to_string())?);
    Client::connect(stream, &options, move |key| {
        key.to_openssh().is_ok_and(|line| line.trim() == expected)
    })
    .await
    .map_err(|error: ClientError| error.to_string())
}

/// A user without a terminal, who cannot be asked for a passphrase.
struct Nobody;

impl AskPassphrase for Nobody {
    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        Box::pin(async { None })
    }
}
