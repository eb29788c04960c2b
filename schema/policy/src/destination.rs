//! The grammar of `<host>:<port>` in scopes and rules.

use std::fmt;

use crate::HostPattern;
use crate::destination_error::DestinationError;
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

    /// Whether this holds all that the other one holds.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.host.covers(&other.host) && self.ports.covers(other.ports)
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

    /// Whether this holds all that the other one holds.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            // All that can be written of a range without end.
            (Self::Range { .. }, Self::Any) => false,
            (own, Self::Range { first, last }) => own.holds(first) && own.holds(last),
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
