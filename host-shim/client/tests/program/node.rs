//! A node for the client to talk to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use alknet_quic::{NodeKey, NodeSecret, QuicStream, Server, TransportSettings, bind_endpoint};
use quinn::VarInt;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

/// What the node does with a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// Sends everything back.
    Echo,
    /// Sends [`GREETING`] and ends its side.
    Greet,
    /// Closes the connection in the middle of the stream.
    CloseRudely,
    /// Sends without end.
    Flood,
    /// Speaks SSH with [`ssh_host_key`] and lets nobody in.
    Ssh,
    /// Neither reads nor writes.
    Ignore,
}

pub(crate) const GREETING: &[u8] = b"good day to you\n";

pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pub(crate) key: NodeKey,
    streams: Receiver<()>,
    closes: Receiver<String>,
    _runtime: Runtime,
}

impl Node {
    pub(crate) fn start(does: Does) -> Self {
        Self::start_speaking(does, b"alknet/ssh")
    }

    pub(crate) fn start_speaking(does: Does, alpn: &[u8]) -> Self {
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let secret = NodeSecret::from_seed(&[5; 32]).unwrap();
        let server = Server::new(&secret, &TransportSettings::default()).unwrap();
        let config = server.config(&[alpn.to_vec()]).unwrap();
        // A name may resolve to either family, if the machine has both.
        let endpoint = bind_endpoint(
            "[::]:0".parse().unwrap(),
            server.endpoint_config(),
            config.clone(),
        )
        .or_else(|_| {
            bind_endpoint(
                "0.0.0.0:0".parse().unwrap(),
                server.endpoint_config(),
                config,
            )
        })
        .unwrap();
        let port = endpoint.local_addr().unwrap().port();
        let (stream_seen, streams) = channel();
        let (close_seen, closes) = channel();
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (stream_seen, close_seen) = (stream_seen.clone(), close_seen.clone());
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection, does, stream_seen, close_seen).await;
                    }
                });
            }
        });
        Self {
            addr: SocketAddr::new("127.0.0.1".parse().unwrap(), port),
            key: secret.public(),
            streams,
            closes,
            _runtime: runtime,
        }
    }

    /// Waits until a client has opened a stream.
    pub(crate) fn wait_for_stream(&self) {
        self.streams.recv_timeout(HANG).unwrap();
    }

    /// Waits until a connection has ended and says why.
    pub(crate) fn wait_for_close(&self) -> String {
        self.closes.recv_timeout(HANG).unwrap()
    }
}

const HANG: Duration = Duration::from_secs(20);

async fn serve(
    connection: quinn::Connection,
    does: Does,
    stream_seen: Sender<()>,
    close_seen: Sender<String>,
) {
    if let Ok(halves) = connection.accept_bi().await {
        let _ = stream_seen.send(());
        let stream = QuicStream::new(halves);
        match does {
            Does::Echo => echo(stream).await,
            Does::Greet => greet(stream).await,
            Does::CloseRudely => connection.close(VarInt::from_u32(1), b"going away"),
            Does::Flood => flood(stream).await,
            Does::Ssh => refuse_by_ssh(stream).await,
            Does::Ignore => {
                connection.closed().await;
            }
        }
    }
    let _ = close_seen.send(connection.closed().await.to_string());
}

async fn echo(stream: QuicStream) {
    let (mut read, mut write) = tokio::io::split(stream);
    if tokio::io::copy(&mut read, &mut write).await.is_ok() {
        let _ = write.shutdown().await;
    }
}

async fn greet(mut stream: QuicStream) {
    let _ = stream.read(&mut [0; 100]).await;
    let _ = stream.write_all(GREETING).await;
    let _ = stream.shutdown().await;
}

async fn flood(mut stream: QuicStream) {
    while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
}

/// The public half of the node's SSH host key.
pub(crate) fn ssh_host_key() -> String {
    host_key().public_key().to_openssh().unwrap()
}

fn host_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[6; 32]))
}

async fn refuse_by_ssh(stream: QuicStream) {
    struct Nobody;
    impl russh::server::Handler for Nobody {
        type Error = russh::Error;
    }
    let config = russh::server::Config {
        keys: vec![host_key()],
        auth_rejection_time: Duration::ZERO,
        ..Default::default()
    };
    if let Ok(session) = russh::server::run_stream(Arc::new(config), stream, Nobody).await {
        let _ = session.await;
    }
}
