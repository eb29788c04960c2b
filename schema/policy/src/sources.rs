//! The addresses a peer may connect from (`from=`, sshd(8); `source-address`,
//! PROTOCOL.certkeys).

use std::net::IpAddr;

use ipnet::IpNet;
use wildmatch::WildMatch;

/// Addresses that peers may come from: the `from=` of an authorized key
/// (sshd(8), ssh_config(5) PATTERNS) or the `source-address` of a certificate
/// (`PROTOCOL.certkeys`). Names are never looked up, so none are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    negated: bool,
    pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Network(IpNet),
    /// `*` stands for any characters, `?` for one, in the address as text.
    Text(String),
}

impl Sources {
    /// Reads patterns: addresses, networks (`10.0.0.0/8`, `fd00::/8`) and
    /// addresses with wildcards (`10.1.*`). A `!` in front refuses what
    /// matches, whatever else does.
    ///
    /// # Errors
    /// The index of the first pattern that could never match, and the reason.
    pub fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, (usize, BadSource)> {
        let entries = patterns.iter().enumerate().map(|(index, text)| {
            let text = text.as_ref();
            let (negated, text) = match text.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, text),
            };
            let pattern = pattern(text).map_err(|fault| (index, fault))?;
            Ok(Entry { negated, pattern })
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        if entries.iter().all(|entry| entry.negated) {
            return Err((0, BadSource::Nothing));
        }
        Ok(Self(entries))
    }

    /// Reads the `source-address` of a certificate: addresses and networks,
    /// separated by commas.
    ///
    /// # Errors
    /// The fault of the first entry that is not an address or a network.
    pub fn networks(list: &str) -> Result<Self, BadSource> {
        let entries = list.split(',').map(|text| {
            let pattern = network(text)?.ok_or_else(|| BadSource::NoAddress {
                text: text.to_owned(),
            })?;
            Ok(Entry {
                negated: false,
                pattern,
            })
        });
        entries.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a peer with this address may connect. An IPv4-mapped address
    /// is looked at as IPv4.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let text = address.to_string();
        let mut admitted = false;
        for entry in &self.0 {
            if entry.pattern.holds(address, &text) {
                if entry.negated {
                    return false;
                }
                admitted = true;
            }
        }
        admitted
    }
}

impl Pattern {
    fn holds(&self, found: IpAddr, text: &str) -> bool {
        match self {
            Self::Text(pattern) => WildMatch::new(pattern).matches(text),
            Self::Network(network) => network.contains(&found),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, BadSource> {
    if let Some(network) = network(text)? {
        return Ok(network);
    }
    let of_an_address = |c: char| c.is_ascii_hexdigit() || ".:*?".contains(c);
    if text.contains(['*', '?']) && text.chars().all(of_an_address) {
        return Ok(Pattern::Text(text.to_ascii_lowercase()));
    }
    Err(BadSource::NoAddress {
        text: text.to_owned(),
    })
}

/// Reads a network with a prefix length; `None` when the text is not written
/// like one.
fn network(text: &str) -> Result<Option<Pattern>, BadSource> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Ok(None);
    };
    let whole = IpNet::from(address);
    let bad = || BadSource::Prefix {
        text: text.to_owned(),
        most: whole.max_prefix_len(),
    };
    let network = match length {
        None => whole,
        // Digits alone: `str::parse` would let a plus sign pass.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = digits.parse().map_err(|_| bad())?;
            IpNet::new(address, length).map_err(|_| bad())?
        }
        Some(_) => return Err(bad()),
    };
    match network.trunc() {
        first if first == network => Ok(Some(Pattern::Network(network))),
        first => Err(BadSource::HostBits {
            text: text.to_owned(),
            network: first.to_string(),
        }),
    }
}

/// Why a text is not a pattern of peers' addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// It is not an address, network or pattern of addresses.
    #[error(
        "{text:?} is not an address or network; write for example 192.0.2.7, 10.0.0.0/8 or 10.1.* (names are not looked up)"
    )]
    NoAddress {
        /// The text.
        text: String,
    },
    /// What follows the slash is not a length of a prefix.
    #[error("{text:?}: a number from 0 to {most} follows the slash")]
    Prefix {
        /// The text.
        text: String,
        /// The number of bits of such an address.
        most: u8,
    },
    /// The address has bits set beyond the prefix.
    #[error("{text:?} has bits beyond its prefix; write {network}")]
    HostBits {
        /// The text.
        text: String,
        /// The network it is in.
        network: String,
    },
    /// The list lets no address in.
    #[error("no address is let in; add what is, such as \"*\"")]
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_match_as_sshd_matches_them() {
        for (patterns, address, admitted) in [
            (&["192.0.2.7"][..], "192.0.2.7", true),
            (&["192.0.2.7"], "::ffff:192.0.2.7", true),
            (&["192.0.2.7"], "192.0.2.8", false),
            (&["10.0.0.0/8", "fd00::/8"], "10.255.0.1", true),
            (&["10.0.0.0/8", "fd00::/8"], "fd12::1", true),
            (&["10.0.0.0/8", "fd00::/8"], "11.0.0.1", false),
            (&["0.0.0.0/0"], "203.0.113.1", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["::/0"], "2001:db8::1", true),
            (&["*"], "2001:db8::1", true),
            (&["10.1.*"], "10.1.2.3", true),
            (&["10.1.*"], "10.10.2.3", false),
            (&["10.1.?.3"], "10.1.2.3", true),
            (&["10.1.?.3"], "10.1.22.3", false),
            (&["2001:DB8:*"], "2001:db8::1", true),
            (&["*", "!10.0.0.1"], "10.0.0.1", false),
            (&["!10.0.0.1", "*"], "10.0.0.1", false),
            (&["!10.0.0.0/8", "*"], "11.0.0.1", true),
        ] {
            let sources = Sources::parse(patterns).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(sources.admit(address), admitted, "{patterns:?} {address}");
        }
    }

    #[test]
    fn what_could_never_match_is_named() {
        for (patterns, place, why) in [
            (&["*", "*.example.com"][..], 1, "names are not looked up"),
            (&["example"], 0, "not an address"),
            (&["10.0.0.0/33"], 0, "from 0 to 32"),
            (&["10.0.0.0/+8"], 0, "from 0 to 32"),
            (&["10.0.0.1/8"], 0, "write 10.0.0.0/8"),
            (&["!10.0.0.1"], 0, "no address is let in"),
            (&[], 0, "no address is let in"),
            (&[""], 0, "not an address"),
        ] {
            let (index, fault) = Sources::parse(patterns).unwrap_err();
            assert_eq!(index, place, "{patterns:?}");
            assert!(fault.to_string().contains(why), "{fault}");
        }
    }

    #[test]
    fn a_certificate_lists_networks_alone() {
        let sources = Sources::networks("192.0.2.0/24,2001:db8::1").unwrap();
        assert!(sources.admit("192.0.2.9".parse().unwrap()));
        assert!(sources.admit("2001:db8::1".parse().unwrap()));
        assert!(!sources.admit("192.0.3.9".parse().unwrap()));
        for list in [
            "",
            "*",
            "!192.0.2.1",
            "192.0.2.0/24,",
            "192.0.2.1, 10.0.0.1",
        ] {
            assert!(Sources::networks(list).is_err(), "{list:?}");
        }
    }
}
