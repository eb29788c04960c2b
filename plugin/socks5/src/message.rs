//! The messages of SOCKS5 (RFC 1928) and the verdict on a password (RFC 1929).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::Target;
use crate::codec::{DecodeError, Message, Progress, Reader, Stop, decode, put_short_string};

/// A way to authenticate (RFC 1928, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(pub u8);

impl Method {
    /// No authentication.
    pub const NO_AUTH: Self = Self(0);
    /// User name and password (RFC 1929).
    pub const PASSWORD: Self = Self(2);
    /// The server's answer when it accepts none of the client's methods.
    pub const NONE_ACCEPTABLE: Self = Self(0xff);
}

/// The client's first message: the methods it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    methods: Vec<Method>,
}

impl Greeting {
    /// Offers `methods`; no more than 255 of them are sent.
    pub fn new(methods: &[Method]) -> Self {
        Self {
            methods: methods.iter().take(255).copied().collect(),
        }
    }

    /// The methods that are offered; may be empty.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }
}

impl Message for Greeting {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            version(reader)?;
            let methods = reader.short_string()?.iter().copied().map(Method);
            Ok(Self {
                methods: methods.collect(),
            })
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![5];
        let methods: Vec<u8> = self.methods.iter().map(|method| method.0).collect();
        put_short_string(&mut out, &methods);
        out
    }
}

/// The server's choice among the methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodChoice(pub Method);

impl Message for MethodChoice {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            version(reader)?;
            let [method] = reader.array()?;
            Ok(Self(Method(method)))
        })
    }

    fn encode(&self) -> Vec<u8> {
        vec![5, self.0.0]
    }
}

/// The server's verdict on user name and password (RFC 1929).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStatus {
    /// The user name and password are accepted.
    Accepted,
    /// The user name or password is wrong; the server closes.
    Refused,
}

impl Message for AuthStatus {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| match reader.array()? {
            // Some servers answer with the version of SOCKS here.
            [1 | 5] => match reader.array()? {
                [0] => Ok(Self::Accepted),
                [_] => Ok(Self::Refused),
            },
            [found] => Err(DecodeError::AuthVersion { found }.into()),
        })
    }

    fn encode(&self) -> Vec<u8> {
        vec![1, u8::from(*self == Self::Refused)]
    }
}

/// The command of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A TCP connection to the target.
    Connect,
    /// A listening port for a connection from the target.
    Bind,
    /// A relay for UDP.
    UdpAssociate,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::Bind => "BIND",
            Self::UdpAssociate => "UDP ASSOCIATE",
        })
    }
}

/// The client's request (RFC 1928, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// The host and port that the command is about.
    pub target: Target,
}

impl Message for Request {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            version(reader)?;
            let [command, _reserved] = reader.array()?;
            // The target first: an unknown command is an error only when the
            // whole request has been read and can be answered.
            let target = Target::read(reader)?;
            let command = match command {
                1 => Command::Connect,
                2 => Command::Bind,
                3 => Command::UdpAssociate,
                found => return Err(DecodeError::Command { found }.into()),
            };
            Ok(Self { command, target })
        })
    }

    fn encode(&self) -> Vec<u8> {
        let command = match self.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::UdpAssociate => 3,
        };
        let mut out = vec![5, command, 0];
        self.target.write(&mut out);
        out
    }
}

/// The outcome of a request (RFC 1928, section 6). The other protocols
/// distinguish fewer outcomes; these are mapped onto theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reply {
    /// 0: the stream is the tunnel from here on.
    #[error("succeeded")]
    Succeeded,
    /// 1: something else went wrong.
    #[error("general failure")]
    GeneralFailure,
    /// 2: the server's rules forbid it.
    #[error("connection not allowed by the server's rules")]
    NotAllowed,
    /// 3: the target's network cannot be reached.
    #[error("network unreachable")]
    NetworkUnreachable,
    /// 4: the target cannot be reached, or its name is unknown.
    #[error("host unreachable")]
    HostUnreachable,
    /// 5: the target refused the connection.
    #[error("connection refused")]
    ConnectionRefused,
    /// 6: a hop count ran out, by its name; by custom, the target did not
    /// answer in time.
    #[error("timed out (TTL expired)")]
    TtlExpired,
    /// 7: the server does not do that command.
    #[error("command not supported")]
    CommandNotSupported,
    /// 8: the server does not do that type of address.
    #[error("address type not supported")]
    AddressTypeNotSupported,
}

impl Reply {
    const ALL: [Self; 9] = [
        Self::Succeeded,
        Self::GeneralFailure,
        Self::NotAllowed,
        Self::NetworkUnreachable,
        Self::HostUnreachable,
        Self::ConnectionRefused,
        Self::TtlExpired,
        Self::CommandNotSupported,
        Self::AddressTypeNotSupported,
    ];
}

/// The server's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The outcome of the request.
    pub reply: Reply,
    /// The address the server uses towards the target, if it says.
    pub bound: Target,
}

impl Response {
    /// An answer that does not tell an address.
    pub fn new(reply: Reply) -> Self {
        Self {
            reply,
            bound: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
        }
    }
}

impl Message for Response {
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| {
            version(reader)?;
            let [found, _reserved] = reader.array()?;
            let bound = Target::read(reader)?;
            let reply = Reply::ALL
                .get(usize::from(found))
                .copied()
                .ok_or(DecodeError::Reply { found })?;
            Ok(Self { reply, bound })
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![5, self.reply as u8, 0];
        self.bound.write(&mut out);
        out
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), Stop> {
    match reader.array()? {
        [5] => Ok(()),
        [found] => Err(DecodeError::Version { found }.into()),
    }
}
