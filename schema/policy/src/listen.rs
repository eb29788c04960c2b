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
            HostPattern::Network {
                address,
                prefix_len,
            } => {
                if !bind.is_unspecified() {
                    pattern.host.holds_address(bind)
                } else {
                    address.is_ipv4() == bind.is_ipv4()
                        && (action == Action::Deny
                            || *prefix_len == 0
                            || pattern.host == HostPattern::single(bind))
                }
            }
        }
}
