//! Our own client library towards a node: QUIC connections and log-ins.

use std::time::Duration;

use alknet_quic::{
    Client as QuicClient, NodeSecret, QuicStream, TransportSettings, Trust, bind_client, connect,
};
use alknet_ssh::{Client, ClientOptions};

use crate::TestNode;

/// A QUIC connection to a node, from this process.
pub struct Dialled {
    /// The connection.
    pub connection: quinn::Connection,
    /// The connection's endpoint. When it is dropped, the node hears nothing
    /// more and is told nothing.
    pub endpoint: quinn::Endpoint,
}

impl Dialled {
    /// A new stream as a byte stream.
    pub async fn stream(&self) -> QuicStream {
        QuicStream::new(self.connection.open_bi().await.unwrap())
    }
}

/// Connects to the node's SSH service without showing a key in TLS.
pub async fn dial(node: &TestNode) -> Dialled {
    dial_as(node, None, b"alknet/ssh").await.unwrap()
}

/// Connects to any service of the node.
///
/// # Errors
/// The error that the client sees.
pub async fn dial_as(
    node: &TestNode,
    key: Option<NodeSecret>,
    alpn: &[u8],
) -> Result<Dialled, alknet_quic::ConnectError> {
    let endpoint = bind_client(node.addr).unwrap();
    let client = QuicClient {
        trust: Trust::Pinned(node.node_key),
        key,
        alpn: alpn.to_vec(),
        settings: TransportSettings::default(),
    };
    let connection = connect(&endpoint, node.addr, &client).await?;
    Ok(Dialled {
        connection,
        endpoint,
    })
}

/// An SSH connection on a new stream, logged in with the authorised key. The
/// host key must be the one the node printed.
pub async fn connect_ssh(node: &TestNode, dialled: &Dialled) -> Client {
    let options = ClientOptions {
        timeout: Duration::from_secs(60),
        ..ClientOptions::default()
    };
    let expected = node.host_key.clone();
    let mut client = Client::connect(dialled.stream().await, &options, move |key| {
        key.to_openssh().is_ok_and(|line| line.trim() == expected)
    })
    .await
    .unwrap();
    let key = node.setup.key.ssh();
    client.authenticate("anyone", key).await.unwrap();
    client
}
