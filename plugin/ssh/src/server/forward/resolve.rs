use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use alknet_handler::BoxFuture;
use tokio::sync::Semaphore;

/// Look-ups at a time; each holds a thread for as long as the system's
/// resolver takes, whether or not anybody still waits for it.
const AT_A_TIME: usize = 64;

/// Turns a host name into addresses, once for each forward: the addresses that
/// are checked are the ones that are dialled.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of `host`, in the order to try them, with `port`.
    ///
    /// # Errors
    /// When there is none, or it cannot be found out.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system (getaddrinfo(3)).
#[derive(Debug)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let turn = Arc::clone(&self.0).acquire_owned().await;
            let looking_up = tokio::task::spawn_blocking(move || {
                let addresses = (host.as_str(), port).to_socket_addrs();
                drop(turn);
                addresses.map(Iterator::collect)
            });
            looking_up.await.map_err(io::Error::other)?
        })
    }
}
