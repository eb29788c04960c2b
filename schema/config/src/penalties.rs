//! Settings for refusing addresses that misbehaved (`PerSourcePenalties`,
//! sshd_config(5)).

use alknet_ssh_policy::HostPattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;
use crate::range::within;

/// For how long an address is refused after it misbehaved
/// (`PerSourcePenalties`, sshd_config(5)). Penalties of one address add up;
/// IPv6 addresses count by their /64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Penalties {
    /// Whether there are penalties. Default true.
    pub enabled: bool,
    /// Seconds for a connection that ended after failed attempts to log in.
    /// 0 to 86400. Default 5.
    #[schemars(range(min = 0, max = 86_400))]
    pub authfail_seconds: u32,
    /// Seconds for one that ended without any attempt. 0 to 86400. Default 1.
    #[schemars(range(min = 0, max = 86_400))]
    pub noauth_seconds: u32,
    /// Seconds for one that was closed because `login_grace_seconds` were
    /// over. 0 to 86400. Default 10.
    #[schemars(range(min = 0, max = 86_400))]
    pub grace_exceeded_seconds: u32,
    /// Less than this is only kept in mind; an address is refused once its
    /// penalties add up to so many seconds. 0 to 86400. Default 15.
    #[schemars(range(min = 0, max = 86_400))]
    pub min_seconds: u32,
    /// No address is refused for longer. Not less than `min_seconds`; 1 to
    /// 86400. Default 600.
    #[schemars(range(min = 1, max = 86_400))]
    pub max_seconds: u32,
    /// For how many addresses penalties are kept; the one that ends first is
    /// forgotten for a new one. 1 to 1000000. Default 65536.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_sources: u32,
    /// Addresses and networks without penalties, as `10.0.0.0/8` or
    /// `[fd00::]/8`. Default the machine itself, whose tunnels and relays make
    /// many users look like one.
    #[schemars(inner(length(min = 1)), extend("examples" = [["10.0.0.0/8", "[fd00::]/8"]]))]
    pub exempt: Vec<String>,
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            enabled: true,
            authfail_seconds: 5,
            noauth_seconds: 1,
            grace_exceeded_seconds: 10,
            min_seconds: 15,
            max_seconds: 600,
            max_sources: 65_536,
            exempt: vec!["127.0.0.0/8".to_owned(), "[::1]".to_owned()],
        }
    }
}

impl Penalties {
    /// The networks without penalties. The list is empty when one of them is
    /// malformed, which [`crate::SshConfig::validate`] reports.
    pub fn exempt(&self) -> Vec<HostPattern> {
        let networks: Result<_, _> = self.exempt.iter().map(|text| network(text)).collect();
        networks.unwrap_or_default()
    }

    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        let at = |name: &str| format!("/limits/penalties/{name}");
        for (name, seconds) in [
            ("authfail_seconds", self.authfail_seconds),
            ("noauth_seconds", self.noauth_seconds),
            ("grace_exceeded_seconds", self.grace_exceeded_seconds),
            ("min_seconds", self.min_seconds),
        ] {
            within(&at(name), seconds, 0..=86_400)?;
        }
        within(&at("max_seconds"), self.max_seconds, 1..=86_400)?;
        within(&at("max_sources"), self.max_sources, 1..=1_000_000)?;
        if self.max_seconds < self.min_seconds {
            return Err(SshConfigError::at(
                &at("max_seconds"),
                format!(
                    "{} is below `min_seconds`, which is {}: nobody would ever be refused; use `enabled` to switch penalties off",
                    self.max_seconds, self.min_seconds
                ),
            ));
        }
        for (index, text) in self.exempt.iter().enumerate() {
            network(text)
                .map_err(|fault| SshConfigError::at(&at(&format!("exempt/{index}")), fault))?;
        }
        Ok(())
    }
}

fn network(text: &str) -> Result<HostPattern, String> {
    match HostPattern::parse(text) {
        Ok(network @ HostPattern::Network(_)) => Ok(network),
        Ok(_) => Err(format!(
            "{text:?} is not an address or a network; write it as 10.0.0.0/8 or [fd00::]/8"
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_networks_are_exempt() {
        for (text, why) in [
            ("*", "not an address or a network"),
            ("host.example", "not an address or a network"),
            ("::1", "write [::1]"),
            ("10.1.0.0/8", "write 10.0.0.0/8"),
        ] {
            let fault = network(text).unwrap_err();
            assert!(fault.contains(why), "{text}: {fault}");
        }
        let exempt = Penalties::default().exempt();
        for (address, held) in [("127.0.0.2", true), ("::1", true), ("10.0.0.1", false)] {
            let address = address.parse().unwrap();
            let found = exempt.iter().any(|network| network.holds_address(address));
            assert_eq!(found, held, "{address}");
        }
    }
}
