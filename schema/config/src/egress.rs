//! Settings for how forwarded connections leave the node: directly or through
//! a SOCKS5 or HTTP proxy.

use alknet_ssh_policy::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;

/// How connections leave the node. Unix sockets are always opened directly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// A proxy all connections go through, `socks5://host:port` or
    /// `http://host:port` (HTTP CONNECT). Names are resolved and checked by
    /// the node; the proxy is told the address. Default none: directly.
    #[schemars(extend("examples" = ["socks5://127.0.0.1:1080", "http://proxy.example:3128"]))]
    pub proxy: Option<String>,
    /// The name of the secret with the proxy's `user:password`, as stored by
    /// `alknet-node secret set`. Default none.
    #[schemars(regex(pattern = crate::schema::SECRET_NAME), extend("examples" = ["proxy"]))]
    pub credentials: Option<String>,
}

/// A proxy to connect through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Its name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110 section 9.3.6).
    Http,
}

impl Egress {
    /// The proxy to connect through, if one is configured. `None` as well when
    /// its URL is malformed, which [`crate::SshConfig::validate`] reports.
    pub fn proxy(&self) -> Option<Proxy> {
        parse(self.proxy.as_deref()?).ok()
    }

    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        if let Some(url) = &self.proxy {
            parse(url).map_err(|fault| {
                SshConfigError::at("/forwarding/egress/proxy", fault.to_owned())
            })?;
        }
        let Some(name) = &self.credentials else {
            return Ok(());
        };
        let fault = |message| {
            Err(SshConfigError::at(
                "/forwarding/egress/credentials",
                message,
            ))
        };
        if !is_secret_name(name) {
            return fault(SECRET_NAME_FORM.to_owned());
        }
        if self.proxy.is_none() {
            return fault(
                "there are credentials but no proxy; set egress.proxy as well".to_owned(),
            );
        }
        Ok(())
    }
}

/// Reads the proxy's URL. The errors do not repeat the text: it may hold a
/// password.
fn parse(url: &str) -> Result<Proxy, &'static str> {
    let (kind, rest) = if let Some(rest) = url.strip_prefix("socks5://") {
        (ProxyKind::Socks5, rest)
    } else if let Some(rest) = url.strip_prefix("http://") {
        (ProxyKind::Http, rest)
    } else {
        return Err("a proxy is written socks5://host:port or http://host:port");
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(
            "put the credentials into a secret (`alknet-node secret set NAME`) and its name into \
             egress.credentials; the proxy is host:port alone",
        );
    }
    let (host, port) = rest
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
        .ok_or("the proxy's port is missing; write host:port")?;
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets: [::1]:1080");
    }
    let host = Some(host)
        .filter(|host| !host.contains('%'))
        .and_then(|host| Host::parse(host).ok())
        .ok_or("the proxy's host is not a name or an address; write host:port")?;
    let port = Some(port)
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|port| port.parse().ok())
        .filter(|port| *port != 0)
        .ok_or("the proxy's port is not valid; ports are 1 to 65535")?;
    Ok(Proxy {
        kind,
        host: host.to_string(),
        port,
    })
}

/// What a secret's name looks like, for messages.
pub(crate) const SECRET_NAME_FORM: &str = "a secret's name has 1 to 64 of a-z, 0-9, `.`, `_` and `-`, \
                                           and starts with a letter or digit; this is the name, \
                                           not the secret itself";

pub(crate) fn is_secret_name(name: &str) -> bool {
    let of_a_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(of_a_name)
        && name
            .bytes()
            .all(|byte| of_a_name(byte) || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for (url, kind, host, port) in [
            (
                "socks5://127.0.0.1:1080",
                ProxyKind::Socks5,
                "127.0.0.1",
                1080,
            ),
            (
                "http://Proxy.Example:3128/",
                ProxyKind::Http,
                "proxy.example",
                3128,
            ),
            ("http://[::1]:80", ProxyKind::Http, "::1", 80),
        ] {
            let host = host.to_owned();
            assert_eq!(parse(url), Ok(Proxy { kind, host, port }), "{url}");
        }
    }

    #[test]
    fn a_slip_says_what_to_write_and_not_what_was_written() {
        for (url, why) in [
            ("", "is written socks5://"),
            ("127.0.0.1:1080", "is written socks5://"),
            ("https://proxy:443", "is written socks5://"),
            ("socks5://user:hunter2@proxy:1080", "into a secret"),
            ("socks5h://user:hunter2@proxy:1080", "is written socks5://"),
            ("socks5://proxy", "port is missing"),
            ("socks5://[::1]", "port is missing"),
            ("socks5://::1:1080", "in brackets"),
            ("socks5://:1080", "host is not a name"),
            ("http://a/b:80", "host is not a name"),
            ("http://[fe80::1%eth0]:80", "host is not a name"),
            ("http://proxy:80/path", "port is not valid"),
            ("http://proxy:", "port is not valid"),
            ("http://proxy:0", "port is not valid"),
            ("http://proxy:65536", "port is not valid"),
            ("http://proxy:+80", "port is not valid"),
        ] {
            let fault = parse(url).unwrap_err();
            assert!(fault.contains(why), "{url}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }
}
