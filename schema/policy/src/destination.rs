//! The grammar of `<host>:<port>` in scopes and rules.

use std::fmt;

use crate::HostPattern;
use crate::pattern::number;

/// The hosts and ports a scope or rule is about, written `<host>:<port>`. The
/// port is a number, a range `8000-8010` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The hosts.
    pub host: HostPattern,
    /// The ports.
    pub ports: PortPattern,
}

impl Destination {
    /// Reads a pattern of destinations to connect to. Port 0 cannot be
    /// connected to and is refused.
    ///
    /// # Errors
    /// When the text is not a destination, or one that could never match.
    pub fn parse_forward(text: &str) -> Result<Self, DestinationError> {
        let destination = Self::parse(text)?;
        if let PortPattern::Range { first: 0, .. } = destination.ports {
            return Err(DestinationError::PortZero);
        }
        if let HostPattern::Network(network) = &destination.host
            && let address = network.addr()
            && address.is_unspecified()
            && destination.host == HostPattern::single(address)
        {
            let loopback = HostPattern::single(crate::canonical(address));
            return Err(DestinationError::Unspecified {
                right: loopback.to_string(),
            });
        }
        Ok(destination)
    }

    /// Reads a pattern of addresses to listen on. Port 0 lets the peer ask for
    /// any free port. The one name is `localhost`, which stands for `127.0.0.1`
    /// and `::1`.
    ///
    /// # Errors
    /// When the text is not a destination, or one that could never match.
    pub fn parse_listen(text: &str) -> Result<Self, DestinationError> {
        let destination = Self::parse(text)?;
        match &destination.host {
            HostPattern::Name(name) if name != "localhost" => {
                Err(DestinationError::ListenName { name: name.clone() })
            }
            HostPattern::Suffix(_) => Err(DestinationError::ListenName {
                name: destination.host.to_string(),
            }),
            _ => Ok(destination),
        }
    }

    fn parse(text: &str) -> Result<Self, DestinationError> {
        // The colons of an address without brackets are not a port's.
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'))
            .ok_or_else(|| DestinationError::NoPort {
                host: text.to_owned(),
            })?;
        Ok(Self {
            host: HostPattern::parse(host)?,
            ports: PortPattern::parse(port)?,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.ports)
    }
}

/// Which ports a scope or rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortPattern {
    /// Every port.
    Any,
    /// From one port to another, both included; they may be the same.
    Range {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
}

impl PortPattern {
    /// Whether the pattern holds this port.
    pub fn holds(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range { first, last } => (first..=last).contains(&port),
        }
    }

    fn parse(text: &str) -> Result<Self, DestinationError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let malformed = || DestinationError::Port {
            port: text.to_owned(),
        };
        let port = |text| -> Option<u16> { number(text)?.try_into().ok() };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = port(first).ok_or_else(malformed)?;
        let last = port(last).ok_or_else(malformed)?;
        if first > last {
            return Err(DestinationError::ReversedRange { first, last });
        }
        Ok(Self::Range { first, last })
    }
}

impl fmt::Display for PortPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Range { first, last } if first == last => write!(f, "{first}"),
            Self::Range { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Why a text is not a destination, or one that could never match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The text has no colon with a port after it.
    #[error("no port follows {host:?}; write <host>:<port>, with * for every port")]
    NoPort {
        /// The text.
        host: String,
    },
    /// The part before the port is not a host pattern.
    #[error(
        "{host:?} is not a host; write a name, *.suffix, an address, a network like 10.0.0.0/8 or \
         [fd00::]/8, or *"
    )]
    Host {
        /// The part.
        host: String,
    },
    /// An IPv6 address without brackets, or with the prefix length inside.
    #[error("an IPv6 address stands in brackets, a prefix length after them; write {right}")]
    Brackets {
        /// The right form.
        right: String,
    },
    /// A prefix length no address has.
    #[error("the prefix of {network} is too long; it has at most {longest} bits")]
    PrefixTooLong {
        /// The network.
        network: String,
        /// The greatest length.
        longest: u8,
    },
    /// A network with bits behind the prefix that would never be compared.
    #[error("{network} cannot match, it has bits set after its prefix; write {right}")]
    HostBits {
        /// The network.
        network: String,
        /// The network that holds its address.
        right: String,
    },
    /// An IPv4-mapped IPv6 network; such addresses are compared as IPv4.
    #[error("{network} cannot match, such addresses count as IPv4; write {right}")]
    Mapped {
        /// The network.
        network: String,
        /// The same in IPv4.
        right: String,
    },
    /// The unspecified address as the end of a connection.
    #[error("connecting to the unspecified address reaches the loopback; write {right}")]
    Unspecified {
        /// The loopback address of the family.
        right: String,
    },
    /// The part after the last colon is not a port pattern.
    #[error("{port:?} is not a port; write a number up to 65535, a range like 8000-8010, or *")]
    Port {
        /// The part.
        port: String,
    },
    /// A range that ends before it starts.
    #[error("the range {first}-{last} holds no port; write {last}-{first}")]
    ReversedRange {
        /// What stands first.
        first: u16,
        /// What stands last.
        last: u16,
    },
    /// Port 0 as the end of a connection.
    #[error("nothing can be connected to on port 0; ports are 1 to 65535")]
    PortZero,
    /// A name as a listener's address.
    #[error(
        "{name:?} cannot match, listeners are asked for by address; write an address, a network, \
         localhost or *"
    )]
    ListenName {
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_written_in_one_form() {
        for (text, written) in [
            ("db:22", "db:22"),
            ("DB:022", "db:22"),
            ("*:*", "*:*"),
            ("[::1]:1-1024", "[::1]:1-1024"),
            ("[fd00::]/8:8-8", "[fd00::]/8:8"),
            ("10.0.0.0/8:65535", "10.0.0.0/8:65535"),
        ] {
            let destination = Destination::parse_forward(text).unwrap();
            assert_eq!(destination.to_string(), written);
        }
        for text in [
            "127.0.0.1:0",
            "localhost:0-65535",
            "*:0",
            "0.0.0.0:1",
            "[::]:*",
        ] {
            let destination = Destination::parse_listen(text).unwrap();
            assert_eq!(destination.to_string(), text);
        }
    }

    #[test]
    fn a_port_pattern_holds_its_ends() {
        let ports = PortPattern::parse("8000-8010").unwrap();
        assert!(ports.holds(8000) && ports.holds(8010));
        assert!(!ports.holds(7999) && !ports.holds(8011));
        assert!(PortPattern::Any.holds(0) && PortPattern::Any.holds(65535));
    }

    #[test]
    fn a_destination_that_cannot_match_says_why() {
        for (text, why) in [
            ("db", "no port follows"),
            ("[::1]", "no port follows"),
            ("db:", "\"\" is not a port"),
            ("db:ssh", "\"ssh\" is not a port"),
            ("db:65536", "\"65536\" is not a port"),
            ("db:+22", "\"+22\" is not a port"),
            ("db:1-2-3", "is not a port"),
            ("db:-1", "is not a port"),
            ("db:90-80", "write 80-90"),
            ("db:0", "port 0"),
            ("db:0-80", "port 0"),
            (":22", "\"\" is not a host"),
            ("::1:22", "write [::1]"),
            ("0.0.0.0:22", "write 127.0.0.1"),
            ("[::]:22", "write [::1]"),
        ] {
            let message = Destination::parse_forward(text).unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
        }
        for text in ["db:22", "*.internal:22"] {
            let message = Destination::parse_listen(text).unwrap_err().to_string();
            assert!(message.contains("write an address"), "{text}: {message}");
        }
    }
}
