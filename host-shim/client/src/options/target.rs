//! The address of a node: host and port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The address of a node: a host name or IP address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name in lower case or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// In place of a port, for what is a name and no address.
const NO_PORT: u16 = 0;

impl Target {
    /// The name of a node that is reached in another way than by an address.
    pub(crate) fn named(name: String) -> Self {
        Self {
            host: name,
            port: NO_PORT,
        }
    }

    /// The port for known_hosts files (sshd(8)): ssh's own for what has none.
    pub(crate) fn known_hosts_port(&self) -> u16 {
        match self.port {
            NO_PORT => 22,
            port => port,
        }
    }
}

/// The port nodes listen on unless configured otherwise.
const DEFAULT_PORT: u16 = 4433;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(TargetError::OpenBracket)?;
            let (bare, _zone) = address.split_once('%').unwrap_or((address, ""));
            if bare.parse::<Ipv6Addr>().is_err() {
                return Err(TargetError::NotIpv6 {
                    found: address.to_owned(),
                });
            }
            match rest.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if rest.is_empty() => (address, None),
                None => {
                    return Err(TargetError::AfterBracket {
                        found: rest.to_owned(),
                    });
                }
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => return Err(TargetError::Unbracketed),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        if let Some(found) = host.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(TargetError::Character { found });
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port @ 1..) => port,
                _ => {
                    return Err(TargetError::Port {
                        found: port.to_owned(),
                    });
                }
            },
        };
        Ok(Self {
            host: canonical(host),
            port,
        })
    }
}

/// One spelling for each host, since the known-nodes file compares text.
fn canonical(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_lowercase(),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == NO_PORT {
            f.write_str(&self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("the host is missing")]
    NoHost,
    #[error("{found:?} cannot be part of a host")]
    Character { found: char },
    #[error("the port must be a number from 1 to 65535, not {found:?}")]
    Port { found: String },
    #[error("an IPv6 address with a port must stand in brackets, as in [::1]:4433")]
    Unbracketed,
    #[error("the closing bracket is missing")]
    OpenBracket,
    #[error("{found:?} in brackets is not an IPv6 address")]
    NotIpv6 { found: String },
    #[error("expected a colon and a port after the bracket, not {found:?}")]
    AfterBracket { found: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Target>().unwrap().to_string()
    }

    #[test]
    fn the_forms_people_write() {
        assert_eq!(shown("node.example"), "node.example:4433");
        assert_eq!(shown("Node.Example:22"), "node.example:22");
        assert_eq!(shown("192.0.2.1"), "192.0.2.1:4433");
        assert_eq!(shown("192.0.2.1:1"), "192.0.2.1:1");
        assert_eq!(shown("::1"), "[::1]:4433");
        assert_eq!(shown("[::1]"), "[::1]:4433");
        assert_eq!(shown("[2001:DB8:0::1]:65535"), "[2001:db8::1]:65535");
        assert_eq!(shown("[fe80::1%eth0]:5"), "[fe80::1%eth0]:5");
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(fault(""), TargetError::NoHost);
        assert_eq!(fault(":22"), TargetError::NoHost);
        assert_eq!(fault("a b"), TargetError::Character { found: ' ' });
        for port in ["", "0", "65536", "x", "-1"] {
            let found = port.to_owned();
            assert_eq!(fault(&format!("h:{port}")), TargetError::Port { found });
        }
        assert_eq!(fault("2001:db8::1:x"), TargetError::Unbracketed);
        assert_eq!(fault("[::1"), TargetError::OpenBracket);
        assert!(matches!(fault("[h]:1"), TargetError::NotIpv6 { .. }));
        assert!(matches!(fault("[::1]1"), TargetError::AfterBracket { .. }));
    }
}
