//! The peer that a decision is about: its id, its scopes, and what its
//! certificate withholds.

use crate::Scope;

/// The peer that asks for something, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The identity's id.
    pub id: &'a str,
    /// The scopes it was granted. A text that is not a scope grants nothing.
    pub scopes: &'a [String],
    /// What its certificate withholds.
    pub restrictions: &'a Restrictions,
}

impl Subject<'_> {
    /// Whether the processes of this peer run without confinement, as the
    /// node's own account (the scope `ssh:unconfined`). What it may start is
    /// decided by everything else; nothing that restricts the peer, such as a
    /// forced command, changes the answer.
    ///
    /// A certificate that is limited to scopes must hold this one too.
    pub fn is_unconfined(&self) -> bool {
        let certified = self.restrictions.scopes.as_deref();
        is_unconfined(self.scopes) && certified.is_none_or(is_unconfined)
    }
}

/// Whether these scopes hold `ssh:unconfined`.
pub fn is_unconfined(scopes: &[String]) -> bool {
    scopes
        .iter()
        .any(|scope| Scope::parse(scope) == Ok(Scope::Unconfined))
}

/// What an OpenSSH certificate withholds (`PROTOCOL.certkeys`: a missing
/// `permit-*` extension, the critical option `force-command`). The default,
/// for a peer without a certificate, is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Whether forwarding of any kind is withheld: connections, listeners, Unix
    /// sockets.
    pub no_port_forwarding: bool,
    /// Whether terminals are withheld.
    pub no_pty: bool,
    /// Whether agent forwarding is withheld.
    pub no_agent_forwarding: bool,
    /// The command that is run whatever the peer asks for.
    pub force_command: Option<Vec<u8>>,
    /// The scopes that the certificate is limited to: what rules and the
    /// identity's scopes grant must be granted by one of these as well. `None`
    /// where it is not limited; a text that is not a scope grants nothing.
    pub scopes: Option<Vec<String>>,
}

impl Restrictions {
    /// Whether the forced command is the node's own file transfer, as OpenSSH
    /// names it (sshd_config(5), `ForceCommand`).
    pub fn forces_sftp(&self) -> bool {
        self.force_command.as_deref() == Some(b"internal-sftp")
    }

    /// Restrictions that withhold nothing.
    pub fn none() -> &'static Self {
        static NONE: Restrictions = Restrictions {
            no_port_forwarding: false,
            no_pty: false,
            no_agent_forwarding: false,
            force_command: None,
            scopes: None,
        };
        &NONE
    }
}
