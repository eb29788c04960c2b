//! The host that a peer asks for, in the one form in which names and addresses
//! are compared.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bad_host::BadHost;
use crate::name;

/// The host a peer asks to be connected to, in the one form that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower case, without a trailing dot.
    Name(String),
    /// An address, as [`canonical`] gives it.
    Address(IpAddr),
}

impl Host {
    /// Reads what stands in a forwarding request: a name, an IPv4 address, or
    /// an IPv6 address with or without brackets. The zone of an IPv6 address
    /// (`%eth0`, RFC 4007 section 11) is left out.
    ///
    /// # Errors
    /// When the text is neither a name nor an address.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if text.len() > name::LONGEST + 1 {
            return Err(BadHost::TooLong { length: text.len() });
        }
        if let Some(address) = address(text) {
            return Ok(Self::Address(canonical(address)));
        }
        let name = name::normalise(text)?;
        // With a trailing dot it would be an address that is taken for a name.
        match name.parse() {
            Ok(address) => Ok(Self::Address(canonical(IpAddr::V4(address)))),
            Err(_) => Ok(Self::Name(name)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// The address that is reached by connecting to this one: an IPv4-mapped IPv6
/// address is the IPv4 one (RFC 4291 section 2.5.5.2), and the unspecified
/// address is the loopback (as Linux and the BSDs connect it).
pub fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// An address in any form a peer may write it; its zone is left out.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let address = match bare.split_once('%') {
        Some((address, zone)) if is_zone(zone) => address,
        Some(_) => return None,
        None => bare,
    };
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn is_zone(zone: &str) -> bool {
    !zone.is_empty()
        && zone
            .chars()
            .all(|c| c.is_ascii_graphic() && !"%[]/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        match Host::parse(text).unwrap() {
            Host::Name(name) => format!("name {name}"),
            Host::Address(address) => format!("address {address}"),
        }
    }

    #[test]
    fn names_are_compared_in_one_form() {
        assert_eq!(host("DB.Internal."), "name db.internal");
        assert_eq!(host("_srv.x-1"), "name _srv.x-1");
        // Only resolving tells what these stand for.
        assert_eq!(host("127.1"), "name 127.1");
        assert_eq!(host("2130706433"), "name 2130706433");
    }

    #[test]
    fn addresses_are_compared_in_one_form() {
        for (text, expected) in [
            ("10.0.0.5", "10.0.0.5"),
            ("10.0.0.5.", "10.0.0.5"),
            ("::ffff:10.0.0.5", "10.0.0.5"),
            ("[::FFFF:a00:5]", "10.0.0.5"),
            ("0.0.0.0", "127.0.0.1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("[::]", "::1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0.5]", "fe80::1"),
            ("::ffff:10.0.0.5%1", "10.0.0.5"),
        ] {
            assert_eq!(host(text), format!("address {expected}"), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long_name = ["a"; 128].join(".");
        let long_label = "a".repeat(64);
        let huge = "a".repeat(10_000);
        for (text, expected) in [
            ("", BadHost::Empty),
            (".", BadHost::Empty),
            ("a..b", BadHost::Label),
            ("a..", BadHost::Label),
            (".a", BadHost::Label),
            (long_label.as_str(), BadHost::Label),
            (long_name.as_str(), BadHost::TooLong { length: 255 }),
            (huge.as_str(), BadHost::TooLong { length: 10_000 }),
            ("a\0b", BadHost::Character),
            ("a b", BadHost::Character),
            ("a\n", BadHost::Character),
            ("é", BadHost::Character),
            ("*", BadHost::Character),
            ("a:22", BadHost::Character),
            ("[10.0.0.5]", BadHost::Character),
            ("[::1", BadHost::Character),
            ("::1]", BadHost::Character),
            ("[[::1]]", BadHost::Character),
            ("fe80::1%", BadHost::Character),
            ("fe80::1%a\0", BadHost::Character),
            ("10.0.0.5%eth0", BadHost::Character),
            ("10.0.0.0/8", BadHost::Character),
        ] {
            assert_eq!(Host::parse(text), Err(expected), "{text:?}");
        }
        assert!(Host::parse(&["a"; 127].join(".")).is_ok());
    }
}
