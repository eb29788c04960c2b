//! What is forwarded where, in the syntax of ssh(1), `-L`, `-R` and `-D`.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use alknet_text::is_unsafe;

/// One `-L`: a listener of ours, and what the node connects it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalForward {
    pub(crate) listen: Listen,
    pub(crate) to: Destination,
}

/// One `-R`: a listener of the node's, and what we connect it with; without a
/// destination, whatever its SOCKS clients ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteForward {
    pub(crate) listen: Listen,
    pub(crate) to: Option<Destination>,
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp {
        /// The address to bind; `None` where none is given; empty or `*` for
        /// all addresses.
        bind: Option<String>,
        /// The port; 0 for any that is free.
        port: u16,
    },
    Unix(PathBuf),
}

/// The destination of forwarded connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl FromStr for LocalForward {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let mut fields = Fields::split(spec)?;
        let to = fields.destination(1)?.ok_or_else(|| fields.too_few())?;
        Ok(Self {
            listen: fields.listen()?,
            to,
        })
    }
}

impl FromStr for RemoteForward {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let mut fields = Fields::split(spec)?;
        // PORT and BIND:PORT alone are a listener for SOCKS.
        let to = match fields.list.as_slice() {
            [_] => None,
            [bind, port] if !bind.is_path() && !port.is_path() && bind.number().is_none() => None,
            _ => fields.destination(1)?,
        };
        Ok(Self {
            listen: fields.listen()?,
            to,
        })
    }
}

impl FromStr for Listen {
    type Err = SpecError;

    /// Reads `[BIND:]PORT`, as for `-D`.
    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let fields = Fields::split(spec)?;
        match fields.listen()? {
            Self::Unix(_) => Err(fields.fault(0..1, Fault::NoSocketHere)),
            listen => Ok(listen),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is wrong with a specification, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecError {
    spec: String,
    /// The place of the fault, in bytes of `spec`.
    at: Range<usize>,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("expected {expected} from {least} to 65535")]
    Port { expected: &'static str, least: u16 },
    #[error("the host is missing")]
    NoHost,
    #[error("the destination is missing: expected HOST:PORT or the path of a socket")]
    NoDestination,
    #[error("there are too many parts; an IPv6 address must stand in brackets, as in [::1]")]
    TooMany,
    #[error("the closing bracket is missing")]
    OpenBracket,
    #[error("this is not an IPv6 address")]
    NotIpv6,
    #[error("expected a colon after the bracket")]
    AfterBracket,
    #[error("a host has no spaces in it")]
    Space,
    #[error("expected a port, not the path of a socket")]
    NoSocketHere,
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |range: Range<usize>| {
            let text = self.spec.get(range).unwrap_or_default();
            text.chars().count()
        };
        let shown: String = self
            .spec
            .chars()
            .map(|c| if is_unsafe(c) { '?' } else { c })
            .collect();
        let before = " ".repeat(width(0..self.at.start));
        let under = "^".repeat(width(self.at.clone()).max(1));
        write!(f, "{}\n  {shown}\n  {before}{under}", self.fault)
    }
}

/// The parts between the colons.
struct Fields<'a> {
    spec: &'a str,
    list: Vec<Field>,
}

struct Field {
    text: String,
    at: Range<usize>,
    bracketed: bool,
}

impl Field {
    /// Whether the field is the path of a socket, which ssh knows by its first
    /// character.
    fn is_path(&self) -> bool {
        !self.bracketed && self.text.starts_with('/')
    }

    fn number(&self) -> Option<u16> {
        (!self.bracketed && self.text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| self.text.parse().ok())
            .flatten()
    }
}

impl<'a> Fields<'a> {
    fn split(spec: &'a str) -> Result<Self, SpecError> {
        let mut fields = Self {
            spec,
            list: Vec::new(),
        };
        let mut start = 0;
        loop {
            let field = fields.field_at(start)?;
            let end = field.at.end;
            fields.list.push(field);
            if end == spec.len() {
                break;
            }
            start = end + 1;
        }
        Ok(fields)
    }

    /// The field that begins here; a colon or nothing follows it.
    fn field_at(&self, start: usize) -> Result<Field, SpecError> {
        let rest = self.spec.get(start..).unwrap_or_default();
        if rest.starts_with('[') {
            let Some(close) = rest.find(']') else {
                return Err(self.error(start..self.spec.len(), Fault::OpenBracket));
            };
            let text = rest.get(1..close).unwrap_or_default();
            let bare = text.split('%').next().unwrap_or_default();
            if bare.parse::<Ipv6Addr>().is_err() {
                return Err(self.error(start + 1..start + close, Fault::NotIpv6));
            }
            let end = start + close + 1;
            let after = rest.get(close + 1..).unwrap_or_default();
            if let Some(found) = after.chars().next().filter(|&found| found != ':') {
                return Err(self.error(end..end + found.len_utf8(), Fault::AfterBracket));
            }
            return Ok(Field {
                text: text.to_owned(),
                at: start..end,
                bracketed: true,
            });
        }
        // A backslash takes the next character as it is.
        let mut text = String::new();
        let mut characters = rest.char_indices();
        let mut end = self.spec.len();
        while let Some((offset, character)) = characters.next() {
            match character {
                ':' => {
                    end = start + offset;
                    break;
                }
                '\\' => text.extend(characters.next().map(|(_, next)| next)),
                character => text.push(character),
            }
        }
        Ok(Field {
            text,
            at: start..end,
            bracketed: false,
        })
    }

    /// Takes the destination off the end, leaving at least so many fields.
    fn destination(&mut self, leave: usize) -> Result<Option<Destination>, SpecError> {
        if self.list.len() <= leave {
            return Ok(None);
        }
        let Some(last) = self.list.pop() else {
            return Ok(None);
        };
        if last.is_path() {
            return Ok(Some(Destination::Unix(last.text.into())));
        }
        if self.list.len() <= leave {
            // PORT:HOST, where ":PORT" was forgotten.
            return Err(self.error(last.at, Fault::NoDestination));
        }
        let Some(host) = self.list.pop() else {
            return Ok(None);
        };
        if host.text.is_empty() {
            return Err(self.error(host.at, Fault::NoHost));
        }
        if host.text.contains(char::is_whitespace) {
            return Err(self.error(host.at, Fault::Space));
        }
        let port = self.port(&last, "the destination's port, a number", 1)?;
        Ok(Some(Destination::Tcp {
            host: host.text,
            port,
        }))
    }

    /// Reads the listener from the fields that are left.
    fn listen(&self) -> Result<Listen, SpecError> {
        let port = |field| self.port(field, "the port to listen on, a number", 0);
        match self.list.as_slice() {
            [path] if path.is_path() => Ok(Listen::Unix(PathBuf::from(&path.text))),
            [field] => Ok(Listen::Tcp {
                bind: None,
                port: port(field)?,
            }),
            [bind, field] => Ok(Listen::Tcp {
                bind: Some(bind.text.clone()),
                port: port(field)?,
            }),
            _ => Err(self.fault(0..self.list.len(), Fault::TooMany)),
        }
    }

    fn port(&self, field: &Field, expected: &'static str, least: u16) -> Result<u16, SpecError> {
        match field.number() {
            Some(port) if port >= least => Ok(port),
            _ => Err(self.error(field.at.clone(), Fault::Port { expected, least })),
        }
    }

    fn too_few(&self) -> SpecError {
        let end = self.spec.len();
        self.error(end..end, Fault::NoDestination)
    }

    /// Makes the error for a fault in some of the fields.
    fn fault(&self, fields: Range<usize>, fault: Fault) -> SpecError {
        let fields = self.list.get(fields).unwrap_or_default();
        let at = match (fields.first(), fields.last()) {
            (Some(first), Some(last)) => first.at.start..last.at.end,
            _ => 0..self.spec.len(),
        };
        self.error(at, fault)
    }

    fn error(&self, at: Range<usize>, fault: Fault) -> SpecError {
        SpecError {
            spec: self.spec.to_owned(),
            at,
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(bind: Option<&str>, port: u16) -> Listen {
        let bind = bind.map(str::to_owned);
        Listen::Tcp { bind, port }
    }

    fn unix(path: &str) -> Listen {
        Listen::Unix(path.into())
    }

    fn host(host: &str, port: u16) -> Destination {
        let host = host.to_owned();
        Destination::Tcp { host, port }
    }

    fn socket(path: &str) -> Destination {
        Destination::Unix(path.into())
    }

    #[test]
    fn local_forwards_read_as_in_ssh() {
        for (spec, listen, to) in [
            ("80:h:8080", tcp(None, 80), host("h", 8080)),
            ("0:h:1", tcp(None, 0), host("h", 1)),
            ("*:80:h:1", tcp(Some("*"), 80), host("h", 1)),
            (":80:h:1", tcp(Some(""), 80), host("h", 1)),
            ("localhost:80:h:1", tcp(Some("localhost"), 80), host("h", 1)),
            (
                "[::1]:80:[fe80::1%lo]:1",
                tcp(Some("::1"), 80),
                host("fe80::1%lo", 1),
            ),
            ("80:/run/x.sock", tcp(None, 80), socket("/run/x.sock")),
            ("127.0.0.1:80:/x", tcp(Some("127.0.0.1"), 80), socket("/x")),
            ("/a.sock:h:1", unix("/a.sock"), host("h", 1)),
            ("/a.sock:/b.sock", unix("/a.sock"), socket("/b.sock")),
            ("/a\\:b:/c", unix("/a:b"), socket("/c")),
        ] {
            let read = spec.parse::<LocalForward>();
            assert_eq!(read, Ok(LocalForward { listen, to }), "{spec}");
        }
    }

    #[test]
    fn remote_forwards_may_be_for_socks() {
        for (spec, listen, to) in [
            ("80:h:1", tcp(None, 80), Some(host("h", 1))),
            ("1080", tcp(None, 1080), None),
            ("0", tcp(None, 0), None),
            ("*:1080", tcp(Some("*"), 1080), None),
            ("[::1]:1080", tcp(Some("::1"), 1080), None),
            ("80:/x", tcp(None, 80), Some(socket("/x"))),
            ("/r.sock:/x", unix("/r.sock"), Some(socket("/x"))),
            ("/r.sock", unix("/r.sock"), None),
        ] {
            let read = spec.parse::<RemoteForward>();
            assert_eq!(read, Ok(RemoteForward { listen, to }), "{spec}");
        }
        assert_eq!("1080".parse(), Ok(tcp(None, 1080)));
        assert_eq!("[::]:1080".parse(), Ok(tcp(Some("::"), 1080)));
    }

    #[test]
    fn a_caret_stands_under_the_fault() {
        for (spec, marked, words) in [
            ("80:h:99999", "99999", "port"),
            ("80:h:0", "0", "from 1"),
            ("80:h:", "", "port"),
            ("x:h:1", "x", "port to listen on"),
            ("a:70000:h:1", "70000", "port to listen on"),
            ("80::1", "", "host is missing"),
            ("80:h", "h", "HOST:PORT"),
            ("80", "", "HOST:PORT"),
            ("", "", "HOST:PORT"),
            ("1:2:3:4:5", "1:2:3", "too many"),
            ("[::1:80:h:1", "[::1:80:h:1", "bracket is missing"),
            ("[h]:80:h:1", "h", "IPv6"),
            ("[::1]80:h:1", "8", "colon"),
            ("80:a b:1", "a b", "spaces"),
            ("80:ü:x", "x", "port"),
        ] {
            let error = spec.parse::<LocalForward>().unwrap_err().to_string();
            let lines: Vec<&str> = error.lines().collect();
            assert!(lines[0].contains(words), "{error}");
            assert_eq!(lines[1], format!("  {spec}"));
            let carets = lines[2].trim_start().chars().count();
            assert_eq!(carets, marked.chars().count().max(1), "{error}");
            let column = lines[2].chars().count() - carets;
            let under: String = lines[1].chars().skip(column).take(carets).collect();
            assert_eq!(under.trim_end_matches(':'), marked, "{error}");
        }
        let error = "/x.sock".parse::<Listen>().unwrap_err().to_string();
        assert!(error.contains("not the path"), "{error}");
    }
}
