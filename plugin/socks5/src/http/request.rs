//! The CONNECT request of a client (RFC 9110 section 9.3.6, RFC 9112).

use std::net::{IpAddr, Ipv6Addr};

use super::{basic, head};
use crate::{Address, Credentials, DecodeError, Message, Progress, Target};

/// The most bytes that are read without the end of a method: every known method
/// is shorter.
const MAX_METHOD: usize = 24;

/// A client's request for a tunnel.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    target: Target,
    credentials: Option<Credentials>,
}

impl ConnectRequest {
    /// A request for a tunnel to `target`, which shows `credentials` to the
    /// proxy.
    ///
    /// # Errors
    /// When HTTP has no way to write one of them.
    pub fn new(target: Target, credentials: Option<Credentials>) -> Result<Self, RequestError> {
        if authority(&target).is_none() {
            Err(RequestError::Host)
        } else if credentials.as_ref().is_some_and(|c| !basic::can_carry(c)) {
            Err(RequestError::Credentials)
        } else {
            Ok(Self {
                target,
                credentials,
            })
        }
    }

    /// The destination that the client asks for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The Basic credentials, if there are any and they are well-formed.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Message for ConnectRequest {
    const MAX_LENGTH: usize = head::MAX_HEAD + 1;

    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        check_start(bytes)?;
        let (head, length) = match head::split(bytes)? {
            Progress::Done(head, length) => (head, length),
            Progress::Need(more) => return Ok(Progress::Need(more)),
        };
        let mut fields = [httparse::EMPTY_HEADER; head::MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        if !matches!(request.parse(head), Ok(httparse::Status::Complete(end)) if end == length) {
            return Err(DecodeError::HttpHead);
        }
        if request.method != Some("CONNECT") {
            return Err(DecodeError::HttpMethod);
        }
        let target = request.path.and_then(parse_authority);
        let credentials = request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("Proxy-Authorization"))
            .and_then(|field| basic::read(field.value));
        let request = Self {
            target: target.ok_or(DecodeError::HttpTarget)?,
            credentials,
        };
        Ok(Progress::Done(request, length))
    }

    fn encode(&self) -> Vec<u8> {
        const FIELD: &str = "Proxy-Authorization: ";
        let authority = authority(&self.target).unwrap_or_default();
        let start = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        let secret = self.credentials.as_ref().map_or(0, basic::length);
        // Sized ahead: growing would leave copies of the password behind.
        let mut out = Vec::with_capacity(start.len() + FIELD.len() + secret + 4);
        out.extend_from_slice(start.as_bytes());
        if let Some(credentials) = &self.credentials {
            out.extend_from_slice(FIELD.as_bytes());
            basic::write(credentials, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Why HTTP cannot carry a request for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The host name has characters that no authority of a URI has, or the
    /// port is 0.
    #[error("an HTTP proxy cannot be asked for this host name or port")]
    Host,
    /// The user name has a colon, or one of the two a control character.
    #[error(
        "an HTTP proxy cannot be sent a user name with a colon, nor control characters in user name or password"
    )]
    Credentials,
}

/// Finds out early that this is not HTTP, rather than wait for a line's end.
fn check_start(bytes: &[u8]) -> Result<(), DecodeError> {
    let start = bytes.get(..=MAX_METHOD).unwrap_or(bytes);
    let method = start.split(|byte| *byte == b' ').next().unwrap_or_default();
    let letter = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    if method.len() > MAX_METHOD || !method.iter().all(letter) {
        Err(DecodeError::NotHttp)
    } else {
        Ok(())
    }
}

/// `host:port` as RFC 9112, section 3.2.3, wants it.
fn authority(target: &Target) -> Option<String> {
    let host = match &target.address {
        Address::Ip(ip) => bracketed(*ip),
        Address::Domain(domain) => match domain.as_str().parse() {
            Ok(ip) => bracketed(ip),
            Err(_) if is_host(domain.as_str()) => domain.as_str().to_owned(),
            Err(_) => return None,
        },
    };
    (target.port != 0).then(|| format!("{host}:{}", target.port))
}

fn parse_authority(text: &str) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(ip) => Some(Target {
            address: Address::Ip(ip.parse::<Ipv6Addr>().ok()?.into()),
            port,
        }),
        None if is_host(host) => Target::new(host, port).ok(),
        None => None,
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A registered name (RFC 3986, section 3.2.2), a little wider.
fn is_host(name: &str) -> bool {
    let delimiter = |byte| b"/?#@[]:\\<>\"{}|^`".contains(&byte);
    let usual = |byte: u8| byte.is_ascii_graphic() && !delimiter(byte);
    !name.is_empty() && name.bytes().all(usual)
}
