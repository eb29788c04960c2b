//! The address of a node that is reached through iroh: its endpoint id and the
//! ways to it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use alknet_quic::NodeKey;

/// What such an address begins with.
pub(crate) const PREFIX: &str = "iroh:";

/// The word for asking the public discovery service.
const DISCOVERY: &str = "discovery";

/// A node that is reached through iroh: `iroh:ID`, or `iroh:ID@WAY,WAY…` where a way
/// is an address, the URL of a relay, or the word `discovery`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IrohAddress {
    /// The endpoint id, which is the node key.
    pub(crate) key: NodeKey,
    /// Addresses at which it may be reached directly.
    pub(crate) direct: Vec<SocketAddr>,
    /// The URLs of relays.
    pub(crate) relays: Vec<String>,
    /// Whether to ask the public discovery service.
    pub(crate) discovery: bool,
}

impl IrohAddress {
    /// The endpoint id as the node prints it.
    pub(crate) fn id(&self) -> String {
        let key = self.key.to_string();
        key.split_once(':')
            .map_or(key.clone(), |(_, digits)| digits.to_owned())
    }

    /// The ways, as they are written in the address.
    pub(crate) fn ways(&self) -> Vec<String> {
        let direct = self.direct.iter().map(ToString::to_string);
        let relays = self.relays.iter().cloned();
        let discovery = self.discovery.then(|| DISCOVERY.to_owned());
        direct.chain(relays).chain(discovery).collect()
    }
}

impl FromStr for IrohAddress {
    type Err = IrohAddressError;

    fn from_str(text: &str) -> Result<Self, IrohAddressError> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let (id, ways) = match text.split_once('@') {
            Some((id, ways)) => (id, Some(ways)),
            None => (text, None),
        };
        if let Some((index, found)) = id.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
            return Err(IrohAddressError::NotHex {
                position: PREFIX.len() + index + 1,
                found,
            });
        }
        let key = format!("ed25519:{id}").parse();
        let mut address = Self {
            key: key.map_err(|_| IrohAddressError::Length { digits: id.len() })?,
            direct: Vec::new(),
            relays: Vec::new(),
            discovery: false,
        };
        for way in ways.into_iter().flat_map(|ways| ways.split(',')) {
            if way == DISCOVERY {
                address.discovery = true;
            } else if is_url(way) {
                address.relays.push(way.trim_end_matches('/').to_owned());
            } else {
                let direct = way.parse::<SocketAddr>().ok();
                let direct = direct.filter(|addr| addr.port() > 0);
                address
                    .direct
                    .push(direct.ok_or_else(|| IrohAddressError::Way {
                        found: way.to_owned(),
                    })?);
            }
        }
        Ok(address)
    }
}

impl fmt::Display for IrohAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.id())?;
        let ways = self.ways();
        if !ways.is_empty() {
            write!(f, "@{}", ways.join(","))?;
        }
        Ok(())
    }
}

/// Why a text is not an [`IrohAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IrohAddressError {
    #[error("{found:?} at position {position} of the endpoint id is not a hexadecimal digit")]
    NotHex { position: usize, found: char },
    #[error("an endpoint id has 64 hexadecimal digits after \"iroh:\", this one has {digits}")]
    Length { digits: usize },
    #[error(
        "{found:?} is not a way to a node: expected IP:PORT, the URL of a relay such as https://relay.example.org, or the word discovery"
    )]
    Way { found: String },
}

const SCHEMES: [&str; 2] = ["https://", "http://"];

/// Whether a text is the URL of a server, without a path.
fn is_url(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let server = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
    let server = server.map(|server| server.trim_end_matches('/'));
    server.is_some_and(|server| !server.is_empty() && server.chars().all(fine))
}

/// The length of the address that a text begins with, where a colon ends it, as in
/// the NODE:PATH of `cp`.
pub(crate) fn length_before_colon(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(PREFIX.as_bytes())?;
    let digits = digits
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let mut at = PREFIX.len() + digits;
    if text.get(at) == Some(&b'@') {
        loop {
            at += 1;
            at += way_length(text.get(at..)?);
            if text.get(at) != Some(&b',') {
                break;
            }
        }
    }
    (text.get(at) == Some(&b':')).then_some(at)
}

/// The length of the way that a text begins with.
fn way_length(text: &[u8]) -> usize {
    let scheme = SCHEMES
        .iter()
        .find(|scheme| text.starts_with(scheme.as_bytes()));
    let start = scheme.map_or(0, |scheme| scheme.len());
    let of_host = |byte: &u8| !matches!(byte, b':' | b',' | b'/');
    let rest = text.get(start..).unwrap_or_default();
    let host = match rest.first() {
        Some(b'[') => rest
            .iter()
            .position(|byte| *byte == b']')
            .map_or(1, |at| at + 1),
        _ => rest.iter().take_while(|byte| of_host(byte)).count(),
    };
    let mut at = start + host;
    if text.get(at) == Some(&b':') {
        let port = text.get(at + 1..).unwrap_or_default();
        let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 && matches!(port.get(digits), Some(b':' | b',' | b'/')) {
            at += 1 + digits;
        }
    }
    if scheme.is_some() && text.get(at) == Some(&b'/') && text.get(at + 1) != Some(&b'/') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_was_read() {
        let id = "07".repeat(32);
        for ways in [
            "",
            "@127.0.0.1:4434",
            "@[::1]:4434,192.0.2.1:1",
            "@https://relay.example.org",
            "@192.0.2.1:1,http://[::1]:3340,discovery",
        ] {
            let text = format!("iroh:{id}{ways}");
            let address: IrohAddress = text.parse().unwrap();
            assert_eq!(address.key, NodeKey::from_bytes([7; 32]));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn faults_are_named() {
        let id = "07".repeat(32);
        let fault = |text: &str| text.parse::<IrohAddress>().unwrap_err().to_string();
        assert!(fault("iroh:").contains("this one has 0"));
        assert!(fault("iroh:0g").contains("'g' at position 7"));
        assert!(fault(&format!("iroh:{id}0")).contains("this one has 65"));
        for way in [
            "",
            "relay.example.org",
            "192.0.2.1",
            "ftp://relay",
            "https://",
            "1.2.3.4:0",
        ] {
            let said = fault(&format!("iroh:{id}@{way}"));
            assert!(said.contains(&format!("{way:?} is not a way")), "{said}");
        }
    }

    #[test]
    fn a_colon_ends_the_address() {
        let id = "07".repeat(32);
        for address in [
            format!("iroh:{id}"),
            format!("iroh:{id}@127.0.0.1:4434"),
            format!("iroh:{id}@[::1]:4434,192.0.2.1:1"),
            format!("iroh:{id}@https://relay.example.org"),
            format!("iroh:{id}@https://relay.example.org/"),
            format!("iroh:{id}@http://127.0.0.1:3340/,1.2.3.4:5"),
            format!("iroh:{id}@discovery"),
        ] {
            for path in ["", "file", "/etc/hosts", "a:b"] {
                let text = format!("{address}:{path}");
                let length = length_before_colon(text.as_bytes());
                assert_eq!(length, Some(address.len()), "{text}");
            }
        }
        assert_eq!(length_before_colon(b"iroh:zz"), None);
        assert_eq!(length_before_colon(b"host:path"), None);
    }
}
