//! A proxy's answer to a CONNECT request, and what its status and Proxy-Status
//! field (RFC 9209) mean.

use super::head;
use crate::{DecodeError, Message, Progress, Reply};

const START: &[u8] = b"HTTP/1.";

/// A proxy's answer to [`ConnectRequest`](super::ConnectRequest), or rather
/// its head; a body is part of the message only when there is no tunnel, and
/// then it is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The status code. The stream is the tunnel after every one from 200 to
    /// 299; those from 100 to 199 come before the true answer.
    pub status: u16,
    /// The meaning of the answer, as closely as the proxy says.
    pub reply: Reply,
}

impl ConnectResponse {
    /// 407: the proxy wants to see other credentials, or any.
    pub const AUTHENTICATE: Self = Self::failure(407);
    /// 400: the request makes no sense.
    pub const BAD_REQUEST: Self = Self::failure(400);
    /// 405: this proxy offers tunnels only.
    pub const NOT_CONNECT: Self = Self::failure(405);
    /// 431: the head of the request is too long.
    pub const TOO_LONG: Self = Self::failure(431);

    /// The answer that says what came of the request.
    pub fn new(reply: Reply) -> Self {
        let status = match reply {
            Reply::Succeeded => 200,
            Reply::NotAllowed => 403,
            Reply::ConnectionRefused => 502,
            Reply::NetworkUnreachable | Reply::HostUnreachable => 503,
            Reply::TtlExpired => 504,
            Reply::GeneralFailure => 500,
            Reply::CommandNotSupported | Reply::AddressTypeNotSupported => 501,
        };
        Self { status, reply }
    }

    const fn failure(status: u16) -> Self {
        Self {
            status,
            reply: Reply::GeneralFailure,
        }
    }
}

impl Message for ConnectResponse {
    const MAX_LENGTH: usize = head::MAX_HEAD + 1;

    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        // Found out early, rather than wait for a line's end.
        if !bytes
            .iter()
            .zip(START)
            .all(|(found, wanted)| found == wanted)
        {
            return Err(DecodeError::NotHttp);
        }
        let (head, length) = match head::split(bytes)? {
            Progress::Done(head, length) => (head, length),
            Progress::Need(more) => return Ok(Progress::Need(more)),
        };
        let mut fields = [httparse::EMPTY_HEADER; head::MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        // Nothing of the fields frames what follows, so be generous.
        let parsed = httparse::ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .parse_response(&mut response, head);
        if !matches!(parsed, Ok(httparse::Status::Complete(end)) if end == length) {
            return Err(DecodeError::HttpHead);
        }
        // There are no others (RFC 9110, section 15).
        let status = response
            .code
            .filter(|code| (100..=599).contains(code))
            .ok_or(DecodeError::HttpHead)?;
        let said = response
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("Proxy-Status"))
            .find_map(|field| proxy_status(std::str::from_utf8(field.value).ok()?));
        let reply = match status {
            100..=299 => Reply::Succeeded,
            _ => said.unwrap_or_else(|| meaning(status)),
        };
        Ok(Progress::Done(Self { status, reply }, length))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, phrase(self.status));
        // The answer that opens a tunnel has no length (RFC 9110, section 8.6).
        if !(100..=299).contains(&self.status) {
            if let Some(error) = error_type(self.reply) {
                out.push_str(&format!("Proxy-Status: alknet; error={error}\r\n"));
            }
            match self.status {
                405 => out.push_str("Allow: CONNECT\r\n"),
                407 => out.push_str("Proxy-Authenticate: Basic realm=\"proxy\"\r\n"),
                _ => {}
            }
            out.push_str("Content-Length: 0\r\nConnection: close\r\n");
        }
        out.push_str("\r\n");
        out.into_bytes()
    }
}

/// The meaning of a failure by its status code alone.
fn meaning(status: u16) -> Reply {
    match status {
        403 | 451 => Reply::NotAllowed,
        405 | 501 => Reply::CommandNotSupported,
        // Whether it was refused or never found, proxies do not agree.
        502 | 503 => Reply::HostUnreachable,
        504 => Reply::TtlExpired,
        _ => Reply::GeneralFailure,
    }
}

/// The error in a Proxy-Status field (RFC 9209, section 2.1.1).
fn proxy_status(value: &str) -> Option<Reply> {
    let mut quoted = false;
    let mut parameters = value.split(|letter| {
        quoted ^= letter == '"';
        !quoted && (letter == ';' || letter == ',')
    });
    let error = parameters.find_map(|parameter| parameter.trim().strip_prefix("error="))?;
    Some(match error {
        "connection_refused" => Reply::ConnectionRefused,
        "connection_timeout" | "dns_timeout" => Reply::TtlExpired,
        "dns_error" | "destination_not_found" | "destination_unavailable" => Reply::HostUnreachable,
        "destination_ip_unroutable" => Reply::NetworkUnreachable,
        "destination_ip_prohibited" | "http_request_denied" => Reply::NotAllowed,
        _ => return None,
    })
}

/// The error type that a Proxy-Status field has for a reply (RFC 9209, section
/// 2.3).
fn error_type(reply: Reply) -> Option<&'static str> {
    match reply {
        Reply::ConnectionRefused => Some("connection_refused"),
        Reply::TtlExpired => Some("connection_timeout"),
        Reply::HostUnreachable => Some("destination_unavailable"),
        Reply::NetworkUnreachable => Some("destination_ip_unroutable"),
        Reply::NotAllowed => Some("http_request_denied"),
        Reply::Succeeded
        | Reply::GeneralFailure
        | Reply::CommandNotSupported
        | Reply::AddressTypeNotSupported => None,
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "Connection established",
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Only CONNECT is served here",
        407 => "Proxy Authentication Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
