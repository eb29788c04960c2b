//! A relay of our own, in this process.

use std::net::SocketAddr;

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use tokio::runtime::Runtime;

/// A relay that speaks plain HTTP. It ends when dropped.
pub(super) struct OwnRelay {
    addr: SocketAddr,
    server: Option<Server>,
    runtime: Runtime,
}

impl OwnRelay {
    /// Starts a relay at an address.
    pub(super) fn start(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut config = ServerConfig::default();
        config.relay = Some(RelayConfig::new(addr));
        let server = runtime.block_on(Server::spawn(config)).unwrap();
        Self {
            addr: server.http_addr().unwrap(),
            server: Some(server),
            runtime,
        }
    }

    /// Its address.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for OwnRelay {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = self.runtime.block_on(server.shutdown());
        }
    }
}
