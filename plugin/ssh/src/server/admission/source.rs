//! The address that connections are counted and penalised by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use alknet_ssh_config::Limits;

/// The source of connections: an IPv4 address, or the /64 of an IPv6 address,
/// since whoever has one such address has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & (u128::MAX << 64);
                Self(Ipv6Addr::from(prefix).into())
            }
            address => Self(address),
        }
    }

    /// Whether the configuration exempts it from limits and penalties.
    pub(super) fn is_exempt(self, limits: &Limits) -> bool {
        let exempt = limits.penalties.exempt();
        // The machine's own IPv6 address has no network.
        let own = self.0 == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let address = if own {
            Ipv6Addr::LOCALHOST.into()
        } else {
            self.0
        };
        exempt.iter().any(|network| network.holds_address(address))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

impl FromStr for Source {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.strip_suffix("/64").unwrap_or(text);
        address.parse().map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn ipv6_counts_by_its_network_and_mapped_addresses_as_what_they_are() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        for text in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(source(text).to_string().parse(), Ok(source(text)));
        }
    }

    #[test]
    fn the_machine_itself_is_exempt_by_default() {
        let limits = Limits::default();
        for (text, exempt) in [("127.0.0.9", true), ("::1", true), ("2001:db8::1", false)] {
            assert_eq!(source(text).is_exempt(&limits), exempt, "{text}");
        }
    }
}
