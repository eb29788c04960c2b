//! The addresses that a request to listen stands for (RFC 4254 section 7.1),
//! and how patterns match them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Action, Denied, Destination, HostPattern, host};

/// The addresses the text of a `tcpip-forward` request stands for (RFC 4254
/// section 7.1): nothing and `*` are all addresses of both families,
/// `localhost` the loopback of both, an address is itself (an IPv4-mapped one
/// as IPv4, without its zone).
///
/// The IPv6 unspecified address stands for IPv6 alone: bind it with
/// `IPV6_V6ONLY`.
///
/// # Errors
/// For any other name.
pub fn listen_addresses(asked: &str) -> Result<Vec<IpAddr>, Denied> {
    if asked.is_empty() || asked == "*" {
        return Ok(vec![
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv4Addr::UNSPECIFIED.into(),
        ]);
    }
    if asked.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    host::address(asked)
        .map(|address| vec![address.to_canonical()])
        .ok_or(Denied::ListenName)
}

/// Whether a rule or scope about listeners matches this one.
///
/// The unspecified address stands for every address of its family. To deny,
/// it is enough that a pattern holds one of them; to allow, it must hold all,
/// or be that very address.
pub(crate) fn holds(pattern: &Destination, action: Action, port: u16, bind: IpAddr) -> bool {
    pattern.ports.holds(port)
        && match &pattern.host {
            HostPattern::Any => true,
            HostPattern::Name(name) => {
                name == "localhost"
                    && (bind == IpAddr::from(Ipv4Addr::LOCALHOST)
                        || bind == IpAddr::from(Ipv6Addr::LOCALHOST)
                        || (bind.is_unspecified() && action == Action::Deny))
            }
            HostPattern::Suffix(_) => false,
            HostPattern::Network(network) => {
                if !bind.is_unspecified() {
                    pattern.host.holds_address(bind)
                } else {
                    network.addr().is_ipv4() == bind.is_ipv4()
                        && (action == Action::Deny
                            || network.prefix_len() == 0
                            || pattern.host == HostPattern::single(bind))
                }
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(asked: &str) -> Vec<String> {
        let addresses = listen_addresses(asked).unwrap();
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_text_of_a_request_stands_for_addresses() {
        for (asked, expected) in [
            ("", vec!["::", "0.0.0.0"]),
            ("*", vec!["::", "0.0.0.0"]),
            ("localhost", vec!["127.0.0.1", "::1"]),
            ("LOCALHOST", vec!["127.0.0.1", "::1"]),
            ("0.0.0.0", vec!["0.0.0.0"]),
            ("::", vec!["::"]),
            ("[::1]", vec!["::1"]),
            ("10.0.0.5", vec!["10.0.0.5"]),
            ("::ffff:10.0.0.5", vec!["10.0.0.5"]),
            ("::ffff:0.0.0.0", vec!["0.0.0.0"]),
            ("fe80::1%eth0", vec!["fe80::1"]),
        ] {
            assert_eq!(addresses(asked), expected, "{asked:?}");
        }
        for asked in [
            "db",
            "localhost.",
            "127.1",
            "[10.0.0.5]",
            " ",
            "\0",
            "10.0.0.5:1",
        ] {
            assert_eq!(
                listen_addresses(asked),
                Err(Denied::ListenName),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn the_unspecified_address_stands_for_all_of_its_family() {
        let check = |pattern: &str, action, bind: &str| {
            let pattern = Destination::parse_listen(pattern).unwrap();
            holds(&pattern, action, 80, bind.parse().unwrap())
        };
        for (pattern, bind, deny, allow) in [
            ("*:*", "0.0.0.0", true, true),
            ("0.0.0.0/0:*", "0.0.0.0", true, true),
            ("0.0.0.0:*", "0.0.0.0", true, true),
            ("0.0.0.0:*", "10.0.0.5", false, false),
            ("0.0.0.0/8:*", "0.0.0.0", true, false),
            ("127.0.0.1:*", "0.0.0.0", true, false),
            ("localhost:*", "0.0.0.0", true, false),
            ("127.0.0.1:*", "::", false, false),
            ("[::1]:*", "::", true, false),
            ("[::]/0:*", "::", true, true),
            ("[::]:*", "::", true, true),
            ("localhost:*", "127.0.0.1", true, true),
            ("localhost:*", "::1", true, true),
            ("localhost:*", "127.0.0.2", false, false),
            ("10.0.0.0/8:*", "10.0.0.5", true, true),
            ("10.0.0.0/8:81", "10.0.0.5", false, false),
        ] {
            assert_eq!(
                check(pattern, Action::Deny, bind),
                deny,
                "deny {pattern} {bind}"
            );
            assert_eq!(
                check(pattern, Action::Allow, bind),
                allow,
                "allow {pattern} {bind}"
            );
        }
    }
}
