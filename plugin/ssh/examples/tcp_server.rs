//! A plain TCP server around `SshHandler`, to try stock SSH tools against it:
//!
//! ```text
//! cargo run -p alknet-ssh --example tcp_server -- 127.0.0.1:2222 ~/.ssh/id_ed25519.pub
//! ssh -p 2222 127.0.0.1 uname
//! ```
//!
//! The host key is made again at each start. Whoever holds one of the keys in
//! the file may run any command, with the rights of this program. It prints the address it listens on.

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use alknet_handler::{
    AuthContext, BoxFuture, BoxStream, Capabilities, CertificateQuery, Connection, Identity,
    IdentityAlreadySet, IdentityError, IdentityProvider, ProtocolHandler, StreamError,
};
use alknet_ssh::{Launcher, PrivateKey, PublicKey, SshHandler};
use alknet_ssh_config::SshConfig;
use russh::keys::{Algorithm, HashAlg};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: tcp_server <address:port> <file of public keys> [config.json]";
    let address = arguments.next().ok_or(usage)?;
    let keys = std::fs::read_to_string(arguments.next().ok_or(usage)?)?;
    let config = match arguments.next() {
        Some(path) => SshConfig::from_json(&std::fs::read_to_string(path)?)?,
        None => SshConfig::default(),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    let known = keys
        .lines()
        .filter_map(|line| PublicKey::from_openssh(line).ok())
        .map(|key| key.fingerprint(HashAlg::Sha256).to_string())
        .collect();
    let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let handler = SshHandler::new(
        config,
        vec![host_key],
        Capabilities::default(),
        Arc::new(KnownKeys(known)),
        Some(Launcher::direct()),
    )?;
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = OneStream {
            stream: Mutex::new(Some(Box::new(stream))),
            peer,
        };
        tokio::spawn(handler.handle(Arc::new(connection), AuthContext::default()));
    }
}

struct KnownKeys(HashSet<String>);

impl IdentityProvider for KnownKeys {
    fn resolve_from_fingerprint<'a>(
        &'a self,
        fingerprint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        let identity = self.0.contains(fingerprint).then(|| Identity {
            id: fingerprint.to_owned(),
            scopes: vec!["ssh:exec".to_owned()],
            ..Identity::default()
        });
        Box::pin(async { Ok(identity) })
    }

    fn resolve_from_token<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }

    fn resolve_from_certificate<'a>(
        &'a self,
        _: &'a CertificateQuery,
    ) -> BoxFuture<'a, Result<Option<Identity>, IdentityError>> {
        Box::pin(async { Ok(None) })
    }
}

/// A TCP connection is a connection of one stream.
struct OneStream {
    stream: Mutex<Option<BoxStream>>,
    peer: SocketAddr,
}

impl Connection for OneStream {
    fn accept_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        let stream = self.stream.lock().ok().and_then(|mut stream| stream.take());
        Box::pin(async { stream.ok_or(StreamError::ConnectionClosed) })
    }

    fn open_bi(&self) -> BoxFuture<'_, Result<BoxStream, StreamError>> {
        Box::pin(async { Err(StreamError::ConnectionClosed) })
    }

    fn remote_alpn(&self) -> Vec<u8> {
        b"alknet/ssh".to_vec()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    fn set_identity(&self, _: Identity) -> Result<(), IdentityAlreadySet> {
        Ok(())
    }

    fn close(&self, _: u32, _: &str) {}
}
