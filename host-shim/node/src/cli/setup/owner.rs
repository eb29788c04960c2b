//! The owner of a node that `up` has made, and what it is let do.

use alknet_identity::{Peer, PeersConfig};
use alknet_openssh::AuthorizedKey;
use clap::Args;
use serde_json::Value;

use crate::cli::setup::init::caller_id;
use crate::walls::UNCONFINED;

/// A service as people think of it, with what gates it.
struct Gated {
    /// What people call the service.
    words: &'static str,
    /// The scopes that the owner gets for it.
    scopes: &'static [&'static str],
    /// The beginning of every scope that grants some of it.
    prefix: &'static str,
    /// The JSON pointer to its switch in the SSH plugin's configuration.
    switch: &'static str,
    /// The flag of `up` that leaves it out.
    flag: Option<&'static str>,
}

const GATED: [Gated; 7] = [
    Gated {
        words: "commands",
        scopes: &["ssh:exec"],
        prefix: "ssh:exec",
        switch: "/services/exec/enabled",
        flag: None,
    },
    Gated {
        words: "shell",
        scopes: &["ssh:shell"],
        prefix: "ssh:shell",
        switch: "/services/shell/enabled",
        flag: Some("--no-shell"),
    },
    Gated {
        words: "sftp and scp",
        scopes: &["ssh:sftp"],
        prefix: "ssh:sftp",
        switch: "/services/sftp/enabled",
        flag: Some("--no-sftp"),
    },
    Gated {
        words: "forwards (-L, -D)",
        scopes: &["ssh:forward:*:*"],
        prefix: "ssh:forward:",
        switch: "/forwarding/forward",
        flag: Some("--no-forward"),
    },
    Gated {
        words: "listeners (-R)",
        scopes: &["ssh:listen:localhost:*"],
        prefix: "ssh:listen:",
        switch: "/forwarding/listen",
        flag: Some("--no-forward"),
    },
    Gated {
        words: "Unix sockets",
        scopes: &["ssh:streamlocal:/**"],
        prefix: "ssh:streamlocal:",
        switch: "/forwarding/streamlocal",
        flag: Some("--no-forward"),
    },
    Gated {
        words: "agent (-A)",
        scopes: &["ssh:agent"],
        prefix: "ssh:agent",
        switch: "/services/agent_forwarding/enabled",
        flag: Some("--no-agent"),
    },
];

/// The services that the owner of a new node does without.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    /// Do not let the owner have a shell (ssh:shell)
    #[arg(long)]
    no_shell: bool,
    /// Do not let the owner transfer files by sftp and scp (ssh:sftp)
    #[arg(long)]
    no_sftp: bool,
    /// Do not let the owner forward ports and Unix sockets (ssh -L, -D and -R)
    #[arg(long)]
    no_forward: bool,
    /// Do not let the owner forward an agent (ssh -A)
    #[arg(long)]
    no_agent: bool,
}

impl LeftOut {
    fn has(self, flag: Option<&str>) -> bool {
        match flag {
            Some("--no-shell") => self.no_shell,
            Some("--no-sftp") => self.no_sftp,
            Some("--no-forward") => self.no_forward,
            Some("--no-agent") => self.no_agent,
            _ => false,
        }
    }

    /// The scopes of a peer that are to be taken from it.
    pub(crate) fn of(self, peer: &Peer) -> Vec<String> {
        let gone = |scope: &&String| {
            let mut gated = GATED.iter().filter(|gated| self.has(gated.flag));
            gated.any(|gated| scope.starts_with(gated.prefix))
        };
        peer.scopes.iter().filter(gone).cloned().collect()
    }
}

/// The caller as a peer with all that this account can do, as under sshd.
pub(crate) fn owner(keys: &[AuthorizedKey], left_out: LeftOut) -> Peer {
    let gated = GATED.iter().filter(|gated| !left_out.has(gated.flag));
    let scopes = gated.flat_map(|gated| gated.scopes).copied();
    Peer {
        id: caller_id(),
        keys: keys.iter().map(|key| key.line.clone()).collect(),
        scopes: scopes.chain([UNCONFINED]).map(str::to_owned).collect(),
        ..Peer::default()
    }
}

/// Three lines: what is on and for whom, what is off, and who else there is.
/// `ssh` is the configuration of the SSH plugin.
pub(crate) fn summary(peers: &PeersConfig, ssh: Option<&Value>) -> Vec<String> {
    let enabled = |peer: &&Peer| !peer.disabled;
    let id = caller_id();
    let Some(owner) = peers
        .peers
        .iter()
        .filter(enabled)
        .find(|peer| peer.id == id)
    else {
        return vec![format!(
            "who       {} may log in; `alknet-node peers list` says what each may do",
            counted(peers.peers.iter().filter(enabled).count())
        )];
    };
    let is_on = |gated: &&Gated| {
        let switch = ssh.and_then(|ssh| ssh.pointer(gated.switch));
        switch.and_then(Value::as_bool).unwrap_or(true)
    };
    let has = |gated: &&Gated| {
        let mut scopes = owner.scopes.iter();
        is_on(gated) && scopes.any(|scope| scope.starts_with(gated.prefix))
    };
    let on: Vec<_> = GATED.iter().filter(has).map(|gated| gated.words).collect();
    let off = GATED.iter().filter(|gated| !has(gated)).map(|gated| {
        let way = match (is_on(&gated), gated.scopes.first()) {
            (true, Some(scope)) => format!("alknet-node peers grant {id} '{scope}'"),
            _ => format!("turned off in node.toml, {}", gated.switch),
        };
        format!("{} ({way})", gated.words)
    });
    let off: Vec<_> = off.collect();
    let rights = match owner.scopes.iter().any(|scope| scope == UNCONFINED) {
        true => "with all the rights of this account",
        false => "confined",
    };
    let others = peers.peers.iter().filter(enabled);
    let others = others.filter(|peer| peer.id != id);
    let others: Vec<_> = others.map(|peer| &*peer.id).collect();
    vec![
        match on.is_empty() {
            true => format!("on        nothing for {id}"),
            false => format!("on        {}: for {id}, {rights}", on.join(", ")),
        },
        match off.is_empty() {
            true => "off       nothing; `up` leaves out what --no-shell, --no-sftp, --no-forward and --no-agent name".to_owned(),
            false => format!("off       {}", off.join(", ")),
        },
        match others.is_empty() {
            true => "others    nobody else may log in; `alknet-node peers add` lets somebody in, confined, with no right that is not granted".to_owned(),
            false => format!("others    {} may log in; `alknet-node peers list` says what each may do", others.join(", ")),
        },
    ]
}

fn counted(peers: usize) -> String {
    match peers {
        0 => "nobody".to_owned(),
        1 => "1 peer".to_owned(),
        more => format!("{more} peers"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peers(owner: Peer) -> PeersConfig {
        PeersConfig {
            peers: vec![owner],
            ..PeersConfig::default()
        }
    }

    #[test]
    fn all_is_on_but_what_is_left_out() {
        let all = owner(&[], LeftOut::default());
        let lines = summary(&peers(all.clone()), None);
        assert!(
            lines[0].contains("commands, shell, sftp and scp, forwards"),
            "{lines:?}"
        );
        assert!(lines[0].contains("all the rights"), "{lines:?}");
        assert!(lines[1].starts_with("off       nothing;"), "{lines:?}");
        assert!(lines[2].contains("nobody else"), "{lines:?}");

        let less = LeftOut {
            no_shell: true,
            no_forward: true,
            ..LeftOut::default()
        };
        let few = owner(&[], less);
        assert_eq!(
            few.scopes,
            ["ssh:exec", "ssh:sftp", "ssh:agent", UNCONFINED]
        );
        let lines = summary(&peers(few), None);
        assert!(
            lines[1].contains("shell (alknet-node peers grant "),
            "{lines:?}"
        );
        assert_eq!(less.of(&all).len(), 4, "{:?}", less.of(&all));

        let ssh = json!({ "services": { "sftp": { "enabled": false } } });
        let lines = summary(&peers(all), Some(&ssh));
        assert!(
            lines[1].contains("sftp and scp (turned off in node.toml"),
            "{lines:?}"
        );
    }
}
