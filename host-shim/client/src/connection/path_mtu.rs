//! Whether a path is wide enough for QUIC, as far as this machine knows.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt::{ip_mtu, ipv6_mtu};

/// The largest packet that a path must carry for QUIC, in bytes: a UDP payload
/// of 1200 (RFC 9000 section 14) and the headers of UDP and IPv4 or IPv6.
pub(crate) const QUIC_MTU_V4: u32 = 1200 + 8 + 20;
pub(crate) const QUIC_MTU_V6: u32 = 1200 + 8 + 40;

/// A path that does not carry QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NarrowPath {
    /// The largest packet it carries, in bytes.
    pub(crate) mtu: u32,
    /// The largest that it would have to.
    pub(crate) needed: u32,
}

/// The MTU of the route to an address, if it is too small for QUIC. A path that
/// drops large packets silently is not found.
pub(crate) fn narrow_path(to: SocketAddr) -> Option<NarrowPath> {
    let mtu = known_mtu(to).ok()?;
    too_narrow(to, mtu)
}

fn too_narrow(to: SocketAddr, mtu: u32) -> Option<NarrowPath> {
    let needed = match to {
        SocketAddr::V4(_) => QUIC_MTU_V4,
        SocketAddr::V6(_) => QUIC_MTU_V6,
    };
    (mtu < needed).then_some(NarrowPath { mtu, needed })
}

/// The MTU of the route, or of the path where a router told it (ip(7), IP_MTU).
fn known_mtu(to: SocketAddr) -> io::Result<u32> {
    let here: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here)?;
    // Nothing is sent.
    socket.connect(to)?;
    Ok(match to {
        SocketAddr::V4(_) => ip_mtu(&socket)?,
        SocketAddr::V6(_) => ipv6_mtu(&socket)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_needs_1228_bytes_of_ipv4() {
        let v4: SocketAddr = "192.0.2.1:4433".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:4433".parse().unwrap();
        let narrow = |mtu, needed| Some(NarrowPath { mtu, needed });
        assert_eq!(too_narrow(v4, 1200), narrow(1200, 1228));
        assert_eq!(too_narrow(v4, 1227), narrow(1227, 1228));
        assert_eq!(too_narrow(v4, 1228), None);
        assert_eq!(too_narrow(v6, 1247), narrow(1247, 1248));
        assert_eq!(too_narrow(v6, 1280), None);
    }

    #[test]
    fn the_loopback_is_wide_enough() {
        let here = "127.0.0.1:9".parse().unwrap();
        assert!(known_mtu(here).unwrap() > 1228);
        assert_eq!(narrow_path(here), None);
    }
}
