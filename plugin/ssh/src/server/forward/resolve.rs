use std::fmt;
use std::io;
use std::net::SocketAddr;

use alknet_handler::BoxFuture;
use tokio::sync::Semaphore;

/// Look-ups at a time; each holds a thread for as long as the system's
/// resolver takes.
const AT_A_TIME: usize = 32;

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
pub struct SystemResolver(Semaphore);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Semaphore::new(AT_A_TIME))
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            // Never closed.
            let _turn = self.0.acquire().await;
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}
