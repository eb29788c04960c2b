//! Settings for forwarded ports and Unix sockets (RFC 4254 section 7), with
//! their rules.

use alknet_ssh_policy::{Rule, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::range::within;
use crate::{Egress, PolicyRule, SshConfigError, rules};

/// Forwarding of ports and Unix sockets. What is switched on still needs a
/// rule or a scope of the peer's identity that allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarding {
    /// Whether peers can have the node connect to hosts (`ssh -L`, `-D`,
    /// `-W`, `-J`). Needs the scope `ssh:forward:<host>:<port>`. Default true.
    pub forward: bool,
    /// Whether peers can have the node listen for them (`ssh -R`). Needs the
    /// scope `ssh:listen:<address>:<port>`. Default true.
    pub listen: bool,
    /// Whether peers can connect to and listen on Unix sockets of the node.
    /// Needs the scope `ssh:streamlocal:<path>`. Default true.
    pub streamlocal: bool,
    /// Rules about `<host>:<port>` (connections), `listen:<address>:<port>`
    /// and `streamlocal:<path>`, tried in this order before the scopes. A name
    /// in a target is compared with the name asked for, a network with every
    /// address it has. Default none.
    pub rules: Vec<PolicyRule>,
    /// Seconds for looking up a name and connecting to it, all its addresses
    /// together. 1 to 300. Default 10.
    #[schemars(range(min = 1, max = 300))]
    pub connect_timeout_seconds: u32,
    /// Whether peers can have the node listen on ports below 1024, provided
    /// the operating system lets the node. Default false.
    pub privileged_ports: bool,
    /// How connections leave the node.
    pub egress: Egress,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            forward: true,
            listen: true,
            streamlocal: true,
            rules: Vec::new(),
            connect_timeout_seconds: 10,
            privileged_ports: false,
            egress: Egress::default(),
        }
    }
}

impl Forwarding {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        self.rules()?;
        within(
            "/forwarding/connect_timeout_seconds",
            self.connect_timeout_seconds,
            1..=300,
        )?;
        self.egress.validate()
    }

    pub(crate) fn rules(&self) -> Result<Vec<Rule>, SshConfigError> {
        rules::compile(
            "/forwarding/rules",
            &self.rules,
            &[Service::Forward, Service::Listen, Service::StreamLocal],
            "/services/rules",
        )
    }
}
