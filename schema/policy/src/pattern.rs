//! Patterns of hosts: names, suffixes, addresses and networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::destination_error::DestinationError;
use crate::{Host, name};

/// Which hosts a scope or rule is about.
///
/// Written `*` (all), `db.internal` (the name asked for, without regard to
/// case), `*.internal` (every name below it, at any depth, but not `internal`
/// itself), `10.0.0.0/8`, `[fd00::]/8`, `10.0.0.5`, `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This name, in lower case.
    Name(String),
    /// Every name that ends with a dot and this, in lower case.
    Suffix(String),
    /// Every address of this network, whose host bits are zero; a single address
    /// is a network of full length.
    Network(IpNet),
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it has none of the forms above, or could never match.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(text, rest);
        }
        if text.contains(':') {
            let right = match text.split_once('/') {
                Some((address, prefix)) => format!("[{address}]/{prefix}"),
                None => format!("[{text}]"),
            };
            return Err(DestinationError::Brackets { right });
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address: Ipv4Addr = address.parse().map_err(|_| malformed(text))?;
            return network(text, address.into(), Some(prefix));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return network(text, address.into(), None);
        }
        // `10.0.0` or `300.1.1.1`: a broken address, not a name.
        if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err(malformed(text));
        }
        let (suffix, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name::normalise(name).map_err(|_| malformed(text))?;
        Ok(if suffix {
            Self::Suffix(name)
        } else {
            Self::Name(name)
        })
    }

    /// One address.
    pub fn single(address: IpAddr) -> Self {
        Self::Network(address.into())
    }

    /// Whether the pattern holds the name asked for, whatever its addresses.
    pub(crate) fn holds_name(&self, asked: &Host) -> bool {
        match (self, asked) {
            (Self::Any, _) => true,
            (Self::Name(name), Host::Name(asked)) => name == asked,
            (Self::Suffix(suffix), Host::Name(asked)) => asked
                .strip_suffix(suffix.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty()),
            _ => false,
        }
    }

    /// Whether this holds all that the other one holds.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Suffix(_), Self::Name(name)) => self.holds_name(&Host::Name(name.clone())),
            (Self::Suffix(own), Self::Suffix(other)) => {
                own == other || self.holds_name(&Host::Name(other.clone()))
            }
            (Self::Network(own), Self::Network(other)) => own.contains(other),
            (own, other) => own == other,
        }
    }

    pub(crate) const fn is_network(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// Whether the address lies in this network. It is compared as it is:
    /// [`crate::canonical`] comes first where that matters.
    pub fn holds_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(&address),
            _ => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Network(network) => {
                match network.addr() {
                    IpAddr::V4(address) => write!(f, "{address}")?,
                    IpAddr::V6(address) => write!(f, "[{address}]")?,
                }
                if network.prefix_len() < network.max_prefix_len() {
                    write!(f, "/{}", network.prefix_len())?;
                }
                Ok(())
            }
        }
    }
}

/// What follows the opening bracket: `::1]` or `fd00::]/8`.
fn bracketed(text: &str, rest: &str) -> Result<HostPattern, DestinationError> {
    let (inside, after) = rest.split_once(']').ok_or_else(|| malformed(text))?;
    if after.is_empty()
        && let Some((address, prefix)) = inside.split_once('/')
    {
        return Err(DestinationError::Brackets {
            right: format!("[{address}]/{prefix}"),
        });
    }
    let address: Ipv6Addr = inside.parse().map_err(|_| malformed(text))?;
    match after.strip_prefix('/') {
        Some(prefix) => network(text, address.into(), Some(prefix)),
        None if after.is_empty() => network(text, address.into(), None),
        None => Err(malformed(text)),
    }
}

fn network(
    text: &str,
    address: IpAddr,
    prefix: Option<&str>,
) -> Result<HostPattern, DestinationError> {
    let network = match prefix {
        Some(prefix) => {
            let length = number(prefix).ok_or_else(|| malformed(text))?;
            let length = u8::try_from(length).ok();
            let network = length.and_then(|length| IpNet::new(address, length).ok());
            network.ok_or_else(|| DestinationError::PrefixTooLong {
                network: text.to_owned(),
                longest: IpNet::from(address).max_prefix_len(),
            })?
        }
        None => address.into(),
    };
    if network.trunc() != network {
        return Err(DestinationError::HostBits {
            network: text.to_owned(),
            right: HostPattern::Network(network.trunc()).to_string(),
        });
    }
    if let IpNet::V6(v6) = network
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(right) = IpNet::new(v4.into(), length)
    {
        return Err(DestinationError::Mapped {
            network: text.to_owned(),
            right: HostPattern::Network(right).to_string(),
        });
    }
    Ok(HostPattern::Network(network))
}

fn malformed(text: &str) -> DestinationError {
    DestinationError::Host {
        host: text.to_owned(),
    }
}

/// Digits only: `str::parse` would let a plus sign pass.
pub(crate) fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    fn holds_name(pattern: &str, asked: &str) -> bool {
        parse(pattern).holds_name(&Host::parse(asked).unwrap())
    }

    fn holds_address(pattern: &str, address: &str) -> bool {
        parse(pattern).holds_address(address.parse().unwrap())
    }

    #[test]
    fn names_match_without_regard_to_case_or_a_final_dot() {
        assert!(holds_name("DB.internal", "db.INTERNAL."));
        assert!(holds_name("db.internal.", "db.internal"));
        assert!(!holds_name("db.internal", "db.internal.example"));
        assert!(!holds_name("db.internal", "xdb.internal"));
    }

    #[test]
    fn a_suffix_matches_at_any_depth_but_not_itself() {
        assert!(holds_name("*.internal", "db.internal"));
        assert!(holds_name("*.internal", "a.b.INTERNAL."));
        assert!(!holds_name("*.internal", "internal"));
        assert!(!holds_name("*.internal", "xinternal"));
        assert!(!holds_name("*.internal", "internal.x"));
    }

    #[test]
    fn a_network_matches_by_its_first_bits() {
        assert!(holds_address("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds_address("10.0.0.0/8", "11.0.0.0"));
        assert!(holds_address("10.0.0.4/31", "10.0.0.5"));
        assert!(!holds_address("10.0.0.4/31", "10.0.0.6"));
        assert!(holds_address("0.0.0.0/0", "255.255.255.255"));
        assert!(!holds_address("0.0.0.0/0", "::1"));
        assert!(holds_address("10.0.0.5", "10.0.0.5"));
        assert!(!holds_address("10.0.0.5", "10.0.0.4"));
        assert!(holds_address("[fd00::]/8", "fdff::1"));
        assert!(!holds_address("[fd00::]/8", "fe00::1"));
        assert!(holds_address("[::]/0", "ffff::"));
        assert!(!holds_address("[::]/0", "10.0.0.5"));
        assert!(holds_address("[::1]", "::1"));
    }

    #[test]
    fn a_name_pattern_is_not_about_addresses_nor_a_network_about_names() {
        assert!(!holds_address("db", "10.0.0.5"));
        assert!(!holds_name("0.0.0.0/0", "db"));
        assert!(!holds_name("*.1", "10.0.0.1"));
        assert!(holds_name("*", "db") && holds_name("*", "10.0.0.1"));
    }

    #[test]
    fn patterns_are_written_in_one_form() {
        for (text, written) in [
            ("*", "*"),
            ("DB.", "db"),
            ("*.Internal", "*.internal"),
            ("10.0.0.5/32", "10.0.0.5"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("[FD00:0::]/8", "[fd00::]/8"),
            ("[::1]/128", "[::1]"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("[::]/80", "[::]/80"),
        ] {
            assert_eq!(parse(text).to_string(), written);
        }
    }

    #[test]
    fn a_pattern_that_cannot_match_says_the_right_one() {
        for (text, right) in [
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("10.0.0.5/31", "write 10.0.0.4/31"),
            ("1.2.3.4/0", "write 0.0.0.0/0"),
            ("[fd00::1]/8", "write [fd00::]/8"),
            ("[fd00::/8]", "write [fd00::]/8"),
            ("fd00::/8", "write [fd00::]/8"),
            ("::1", "write [::1]"),
            ("10.0.0.0/33", "at most 32 bits"),
            ("10.0.0.0/256", "at most 32 bits"),
            ("[fd00::]/129", "at most 128 bits"),
            ("[::ffff:10.0.0.0]/104", "write 10.0.0.0/8"),
            ("[::ffff:10.0.0.5]", "write 10.0.0.5"),
        ] {
            let message = HostPattern::parse(text).unwrap_err().to_string();
            assert!(message.contains(right), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "*.",
            "**",
            "a*b",
            "*.*",
            "a b",
            "300.1.1.1",
            "10.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "db/8",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]/",
            "[10.0.0.0]/8",
            "[fe80::1%eth0]",
            "[fd00::/8]/8",
            "é",
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(
                matches!(error, DestinationError::Host { .. }),
                "{text}: {error}"
            );
        }
    }
}
