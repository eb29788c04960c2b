//! The largest packets to try on a path.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn::{EndpointConfig, MtuDiscoveryConfig, TransportConfig};
use rustix::net::sockopt::{ip_mtu, ipv6_mtu};

/// What a path carries, as far as the interface where it begins tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// No more than Ethernet does.
    Ethernet,
    /// Whatever we send: it does not leave this machine.
    Loopback,
}

/// The UDP payload to try on loopback: quinn hands the system ten packets at
/// a time, and Linux takes 65,507 bytes (udp(7)).
const LOOPBACK_PAYLOAD: u16 = 6500;
/// By half of what is between the least MTU of QUIC (RFC 9000 section 14) and
/// that, rounded up, quinn tries the whole at once.
const LOOPBACK_STEP: u16 = (LOOPBACK_PAYLOAD - 1200) / 2 + 1;
/// Only loopback has an MTU of so many bytes; Linux gives it 65,536.
const LOOPBACK_MTU: u32 = 60_000;

impl Path {
    /// The path to `peer`.
    pub(crate) fn to(peer: SocketAddr) -> Self {
        match interface_mtu(peer) {
            Ok(LOOPBACK_MTU..) => Self::Loopback,
            _ => Self::Ethernet,
        }
    }

    /// Has connections look for the largest packets that the path carries (RFC
    /// 8899).
    pub(crate) fn apply(self, transport: &mut TransportConfig) {
        let mut discovery = MtuDiscoveryConfig::default();
        if self == Self::Loopback {
            discovery
                .upper_bound(LOOPBACK_PAYLOAD)
                .minimum_change(LOOPBACK_STEP);
        }
        transport.mtu_discovery_config(Some(discovery));
    }
}

/// Has an endpoint take what peers may send on loopback.
pub(crate) fn take_large_packets(endpoint: &mut EndpointConfig) {
    // Fails below 1200 only.
    let _ = endpoint.max_udp_payload_size(LOOPBACK_PAYLOAD);
}

/// The MTU of the route to `peer` (`IP_MTU` in ip(7)). Nothing is sent.
fn interface_mtu(peer: SocketAddr) -> io::Result<u32> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(match peer {
        SocketAddr::V4(_) => ip_mtu(&socket)?,
        SocketAddr::V6(_) => ipv6_mtu(&socket)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_this_machine_is_known() {
        for peer in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(Path::to(peer.parse().unwrap()), Path::Loopback, "{peer}");
        }
    }

    #[test]
    fn what_leaves_it_or_has_no_way_is_taken_for_ethernet() {
        for peer in ["203.0.113.1:9", "[2001:db8::1]:9"] {
            assert_eq!(Path::to(peer.parse().unwrap()), Path::Ethernet, "{peer}");
        }
    }
}
