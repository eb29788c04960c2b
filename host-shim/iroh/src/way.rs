//! The way that a connection takes: directly, or through a relay.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{Connection, Path};

/// The way that a connection takes at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To an address at which the peer has answered.
    Direct(SocketAddr),
    /// Through the relay with this URL.
    Relay(String),
    /// There is none at the moment.
    None,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(addr) => write!(f, "direct to {addr}"),
            Self::Relay(url) => write!(f, "through the relay {url}"),
            Self::None => f.write_str("without a way"),
        }
    }
}

/// The way that a connection takes at this moment.
pub fn way_of(connection: &Connection) -> Way {
    with_path(connection, |path| match path.remote_addr() {
        TransportAddr::Ip(addr) => Way::Direct(*addr),
        TransportAddr::Relay(url) => Way::Relay(url.to_string()),
        _ => Way::None,
    })
    .unwrap_or(Way::None)
}

/// The time to the peer and back on the way that the connection takes.
pub fn round_trip(connection: &Connection) -> Option<Duration> {
    with_path(connection, |path| path.rtt())
}

/// Looks at the path that is used: the selected one, or the only one where none
/// has been selected yet.
fn with_path<T>(connection: &Connection, look: impl FnOnce(&Path<'_>) -> T) -> Option<T> {
    let paths = connection.paths();
    let selected = paths.iter().find(Path::is_selected);
    let used = selected.or_else(|| match paths.len() {
        1 => paths.iter().next(),
        _ => None,
    });
    used.as_ref().map(look)
}
