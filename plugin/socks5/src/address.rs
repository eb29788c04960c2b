//! Targets of a connection, by address or by name, as SOCKS5 encodes them (RFC
//! 1928 section 5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::DecodeError;
use crate::codec::{Reader, Stop, put_short_string};

const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// A host and port: the destination a client asks for, or the address a server
/// bound. Shown as `host:port`, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub address: Address,
    /// The TCP port.
    pub port: u16,
}

impl Target {
    /// Makes a target from an address or a name; names are not resolved.
    ///
    /// # Errors
    /// When `host` is not an address and could be no name.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let address = match host.parse() {
            Ok(ip) => Address::Ip(ip),
            Err(_) => Address::Domain(Domain::new(host)?),
        };
        Ok(Self { address, port })
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Stop> {
        let [kind] = reader.array()?;
        let address = match kind {
            IPV4 => Address::Ip(Ipv4Addr::from(reader.array::<4>()?).into()),
            IPV6 => Address::Ip(Ipv6Addr::from(reader.array::<16>()?).into()),
            DOMAIN => {
                let name = reader.short_string()?;
                // The port is taken first, so that a faulty name is found only
                // when the whole message has been read and can be answered.
                let port = u16::from_be_bytes(reader.array()?);
                let domain = std::str::from_utf8(name)
                    .ok()
                    .and_then(|name| Domain::new(name).ok())
                    .ok_or(DecodeError::Domain)?;
                return Ok(Self {
                    address: Address::Domain(domain),
                    port,
                });
            }
            found => return Err(DecodeError::AddressType { found }.into()),
        };
        let port = u16::from_be_bytes(reader.array()?);
        Ok(Self { address, port })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.address {
            Address::Ip(IpAddr::V4(ip)) => {
                out.push(IPV4);
                out.extend_from_slice(&ip.octets());
            }
            Address::Ip(IpAddr::V6(ip)) => {
                out.push(IPV6);
                out.extend_from_slice(&ip.octets());
            }
            Address::Domain(domain) => {
                out.push(DOMAIN);
                put_short_string(out, domain.as_str().as_bytes());
            }
        }
        out.extend_from_slice(&self.port.to_be_bytes());
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: Address::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Address::Domain(domain) => write!(f, "{}:{}", domain.as_str(), self.port),
        }
    }
}

/// A host, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name, not resolved. A client may put an address into it as text.
    Domain(Domain),
}

/// A host name: 1 to 255 bytes without white space and control characters.
/// Whether it exists, or could, is the resolver's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain(String);

impl Domain {
    /// Takes a name.
    ///
    /// # Errors
    /// When it is empty, too long or has characters that no name has.
    pub fn new(name: &str) -> Result<Self, AddressError> {
        if name.is_empty() {
            Err(AddressError::Empty)
        } else if name.len() > 255 {
            Err(AddressError::TooLong { length: name.len() })
        } else if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Err(AddressError::Character)
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a host name that SOCKS could carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is empty.
    #[error("the host name is empty")]
    Empty,
    /// It is longer than SOCKS can carry.
    #[error("the host name has {length} bytes; at most 255 are possible")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It has white space or a control character.
    #[error("the host name has white space or a control character in it")]
    Character,
}
