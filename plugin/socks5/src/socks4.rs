//! The messages of SOCKS4 and SOCKS4a, which no RFC describes.

use std::net::{IpAddr, Ipv4Addr};

use crate::codec::{DecodeError, Message, Progress, decode};
use crate::{Address, Command, Domain, Target};

/// The request of SOCKS4, or SOCKS4a when it carries a name.
///
/// There is no RFC; these are `SOCKS: A protocol for TCP proxy across
/// firewalls` by Ying-Da Lee and its extension of the same author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socks4Request {
    /// The command: [`Command::Connect`] or [`Command::Bind`].
    pub command: Command,
    /// The host and port that the command is about; never IPv6.
    pub target: Target,
    /// The user that the client claims to be; at most 255 bytes, none of them
    /// 0.
    pub user: Vec<u8>,
}

impl Message for Socks4Request {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            match reader.array()? {
                [4] => {}
                [found] => return Err(DecodeError::Version { found }.into()),
            }
            let [command] = reader.array()?;
            let port = u16::from_be_bytes(reader.array()?);
            let ip = Ipv4Addr::from(reader.array::<4>()?);
            let user = reader.terminated_string()?.to_vec();
            let name = match ip.octets() {
                [0, 0, 0, 1..=255] => Some(reader.terminated_string()?),
                _ => None,
            };
            // Judged last: the request has been read and can be answered.
            let address = match name {
                None => Address::Ip(ip.into()),
                Some(name) => std::str::from_utf8(name)
                    .ok()
                    .and_then(|name| Domain::new(name).ok())
                    .map(Address::Domain)
                    .ok_or(DecodeError::Domain)?,
            };
            let command = match command {
                1 => Command::Connect,
                2 => Command::Bind,
                found => return Err(DecodeError::Command { found }.into()),
            };
            Ok(Self {
                command,
                target: Target { address, port },
                user,
            })
        })
    }

    /// Encodes the request; an IPv6 address is written as a name.
    fn encode(&self) -> Vec<u8> {
        let command = match self.command {
            Command::Connect => 1,
            Command::Bind | Command::UdpAssociate => 2,
        };
        let mut out = vec![4, command];
        out.extend_from_slice(&self.target.port.to_be_bytes());
        let (ip, name) = match &self.target.address {
            Address::Ip(IpAddr::V4(ip)) => (*ip, None),
            Address::Ip(IpAddr::V6(ip)) => (Ipv4Addr::new(0, 0, 0, 1), Some(ip.to_string())),
            Address::Domain(name) => (Ipv4Addr::new(0, 0, 0, 1), Some(name.as_str().to_owned())),
        };
        out.extend_from_slice(&ip.octets());
        out.extend_from_slice(&self.user);
        out.push(0);
        if let Some(name) = name {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        out
    }
}

/// The answer of SOCKS4, which does not tell failures apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socks4Response {
    /// Whether the stream is the tunnel from here on.
    pub granted: bool,
}

impl Message for Socks4Response {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            match reader.array()? {
                [0] => {}
                [found] => return Err(DecodeError::Version { found }.into()),
            }
            let [code] = reader.array()?;
            reader.array::<6>()?;
            match code {
                90 => Ok(Self { granted: true }),
                91..=93 => Ok(Self { granted: false }),
                found => Err(DecodeError::Reply { found }.into()),
            }
        })
    }

    fn encode(&self) -> Vec<u8> {
        vec![0, if self.granted { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]
    }
}
