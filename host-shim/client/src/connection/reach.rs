//! From a host and a port to a QUIC connection: names, addresses in turn, the first that
//! answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use alknet_quic::{BindError, Client, ClientEndpoint, ConnectError, connect};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::path_mtu::{NarrowPath, narrow_path};
use crate::options::target::Target;

/// The time for which nothing may come over UDP before the user is told and TCP
/// is tried.
pub(super) const UDP_TIMEOUT: Duration = Duration::from_secs(3);

/// The time after which the next address is tried (RFC 8305 section 8,
/// "Connection Attempt Delay").
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Why no address of the node led to it.
pub(super) enum Unreached {
    Narrow(NarrowPath),
    Resolve(String),
    Bind(BindError),
    Connect(ConnectError),
}

/// Connects to the first address of a node that answers.
pub(super) async fn reach(
    target: &Target,
    client: &Client,
) -> Result<(ClientEndpoint, quinn::Connection), Unreached> {
    let addresses = resolve(target).await.map_err(Unreached::Resolve)?;
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    let mut next_at = Instant::now();
    loop {
        if next_at <= Instant::now()
            && let Some(address) = addresses.next()
        {
            attempts.push(attempt(address, client));
            next_at = Instant::now() + NEXT_ADDRESS_AFTER;
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(reached) => return Ok(reached),
                Err(error) => {
                    failure = Some(more_telling(failure, error));
                    next_at = Instant::now();
                }
            },
            () = sleep_until(next_at), if addresses.len() > 0 => {}
            else => return Err(failure.unwrap_or(Unreached::Resolve(NO_ADDRESS.to_owned()))),
        }
    }
}

/// Whether anybody completes or refuses a handshake there, the right node or not.
pub(super) async fn answers(target: &Target, client: &Client) -> bool {
    match timeout(UDP_TIMEOUT, reach(target, client)).await {
        Ok(Ok((_endpoint, connection))) => {
            connection.close(quinn::VarInt::from_u32(0), b"");
            true
        }
        Ok(Err(Unreached::Connect(error))) => {
            !matches!(error, ConnectError::NoAnswer | ConnectError::Local(_))
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

const NO_ADDRESS: &str = "it has no address";

async fn attempt(
    address: SocketAddr,
    client: &Client,
) -> Result<(ClientEndpoint, quinn::Connection), Unreached> {
    if let Some(path) = narrow_path(address) {
        return Err(Unreached::Narrow(path));
    }
    let endpoint = ClientEndpoint::bind(address).map_err(Unreached::Bind)?;
    let connection = connect(endpoint.quinn(), address, client)
        .await
        .map_err(Unreached::Connect)?;
    Ok((endpoint, connection))
}

/// The more telling of two failures: an address that answered says more than
/// one that did not.
fn more_telling(before: Option<Unreached>, now: Unreached) -> Unreached {
    let answered = |error: &Unreached| {
        !matches!(
            error,
            Unreached::Bind(_)
                | Unreached::Connect(ConnectError::NoAnswer | ConnectError::Local(_))
        )
    };
    match before {
        Some(before) if answered(&before) || !answered(&now) => before,
        _ => now,
    }
}

pub(super) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    Ok(found.map_err(|error| error.to_string())?.collect())
}
