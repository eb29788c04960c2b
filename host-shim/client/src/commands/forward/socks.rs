//! One client of `-D` or `alknet socks`: SOCKS5, SOCKS4a or HTTP CONNECT.

use std::time::Duration;

use alknet_socks5::{Address, AuthPolicy, HandshakeError, Reply, accept_any};
use tokio::time::timeout;

use super::dialer::{Dialer, Opened};
use super::stream::{BoxEnd, carry, close_after_words};
use super::unopened::Unopened;
use crate::options::forward_spec::Destination;

/// The time that a client may take for its request.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The time that a client may take to read a refusal.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves one client of SOCKS5, SOCKS4a or HTTP CONNECT to its end. It is told
/// how its request ended, once that is known.
pub(crate) async fn serve(client: BoxEnd, side: &Dialer) -> Result<(), Unserved> {
    let accepting = accept_any(client, &AuthPolicy::Open);
    let request = timeout(HANDSHAKE, accepting)
        .await
        .map_err(|_| Unserved::Late)??;
    let target = request.target();
    let to = Destination::Tcp {
        host: match &target.address {
            Address::Ip(ip) => ip.to_string(),
            Address::Domain(name) => name.as_str().to_owned(),
        },
        port: target.port,
    };
    match side.open(&to).await {
        Ok(Opened { end, place: _place }) => {
            let client = request.reply(Reply::Succeeded).await?;
            carry(client, end).await;
            Ok(())
        }
        Err(error) => {
            let client = request.reply(error.reply()).await?;
            // It has its answer; whether it cares is its own business.
            let _ = timeout(LAST_WORDS, close_after_words(client)).await;
            Err(Unserved::Unopened(to, error))
        }
    }
}

/// Why a client was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    #[error("a SOCKS client took too long to say what it wants")]
    Late,
    #[error("a SOCKS client was turned away: {0}")]
    Handshake(#[from] HandshakeError),
    #[error("not connected with {0}: {1}")]
    Unopened(Destination, Unopened),
}
