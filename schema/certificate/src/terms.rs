//! What a certificate is to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A user certificate, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTerms {
    /// Its number, by which it is revoked; not 0, which stands for none.
    pub serial: u64,
    /// Who it is for, as logs name it.
    pub key_id: String,
    /// The names it is valid for; at least one.
    pub principals: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
    /// The scopes it is limited to; `None`: not limited.
    pub scopes: Option<Vec<String>>,
    /// The accounts it is limited to; `None`: not limited.
    pub accounts: Option<Vec<String>>,
    /// What it permits in the terms of OpenSSH.
    pub permits: Permits,
    /// The command that is run whatever is asked.
    pub force_command: Option<String>,
    /// The addresses and networks it may be used from, separated by commas.
    pub source_address: Option<String>,
}

/// The extensions of OpenSSH that permit something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    /// A terminal (`permit-pty`).
    pub pty: bool,
    /// Forwards of any kind (`permit-port-forwarding`).
    pub port_forwarding: bool,
    /// Forwarding of the agent (`permit-agent-forwarding`).
    pub agent_forwarding: bool,
}

impl Permits {
    /// All of them, as `ssh-keygen` has it by default.
    pub const ALL: Self = Self {
        pty: true,
        port_forwarding: true,
        agent_forwarding: true,
    };

    /// The names of those that are given.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [
            ("permit-agent-forwarding", self.agent_forwarding),
            ("permit-port-forwarding", self.port_forwarding),
            ("permit-pty", self.pty),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
    }
}

/// A host certificate, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTerms {
    /// Its number, by which it is revoked; not 0, which stands for none.
    pub serial: u64,
    /// Which host it is for, as logs name it.
    pub key_id: String,
    /// The host's names and addresses; at least one.
    pub names: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
}

/// The time in which a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub after: u64,
    /// Until then, that second excluded.
    pub before: u64,
}

/// How long before its signing a certificate is valid already: clocks differ.
const SKEW: u64 = 5 * 60;

impl Validity {
    /// From now on, and some minutes before, for clocks that are behind.
    pub fn from_now(lifetime: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        Self {
            after: now.saturating_sub(SKEW),
            before: now.saturating_add(lifetime.as_secs()),
        }
    }
}
