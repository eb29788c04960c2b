//! The peers configuration written as a commented TOML file.

use std::fmt::{self, Write};

use alknet_openssh::AuthorizedKey;

use crate::{Authority, CertificateGrant, Peer, PeersConfig};

const HEADER: &str = "\
# Who may connect to this node, and what each of them may do.
# `alknet-node reload` puts a change in force, or names every fault in it.
#
#   id         the peer's name in logs and rules
#   keys       its SSH public keys, as in a .pub file
#   node_keys  keys it may show in the TLS handshake: \"ed25519:<64 hex digits>\"
#   scopes     what it may do; nothing else is granted:
#                ssh:exec                     run any command
#                ssh:exec:<program>           run this program
#                ssh:forward:<host>:<port>    reach a target through this node
#                ssh:listen:<address>:<port>  have this node listen
#                ssh:streamlocal:<path>       reach a Unix socket
#                ssh:shell  ssh:sftp  ssh:agent  ssh:env:<NAME>
#                ssh:unconfined               run what it starts without confinement
#   files      what a peer without ssh:unconfined reaches beside its own home:
#                [\"/srv/git:rw\", \"/srv/www:ro\"]
#   network    true lets such a peer's processes use TCP
#   accounts   Unix accounts it may use on a node that was started as root
#   resources  further attributes, by kind; conditions on its log-ins:
#                ssh:from  ssh:expires  ssh:command  ssh:environment  ssh:no-pty
#   disabled   true keeps the entry but lets the peer in no more
#
# OpenSSH certificates: [[authorities]] with an id and keys, and in a peer
# certificates = [{ authority = \"<id>\", principals = [\"<name>\"] }]
";

impl PeersConfig {
    /// The configuration as a TOML file for people: with explanations, one key
    /// a line and its fingerprint beside it. Reads back as the same
    /// configuration.
    pub fn to_toml_string(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_toml(&mut text);
        text
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        if let Some(schema) = &self.schema {
            writeln!(out, "\"$schema\" = {}\n", quoted(schema))?;
        }
        out.write_str(HEADER)?;
        let mut authorities = self.authorities.iter();
        authorities.try_for_each(|authority| write_authority(out, authority))?;
        self.peers.iter().try_for_each(|peer| write_peer(out, peer))
    }
}

fn write_authority(out: &mut String, authority: &Authority) -> fmt::Result {
    writeln!(out, "\n[[authorities]]\nid = {}", quoted(&authority.id))?;
    if authority.disabled {
        writeln!(out, "disabled = true")?;
    }
    write_list(out, "keys", &authority.keys, fingerprint)
}

fn fingerprint(line: &str) -> Option<String> {
    let key: AuthorizedKey = line.parse().ok()?;
    Some(key.fingerprint)
}

fn write_peer(out: &mut String, peer: &Peer) -> fmt::Result {
    writeln!(out, "\n[[peers]]\nid = {}", quoted(&peer.id))?;
    if peer.disabled {
        writeln!(out, "disabled = true")?;
    }
    write_list(out, "keys", &peer.keys, fingerprint)?;
    write_list(out, "node_keys", &peer.node_keys, |_| None)?;
    if !peer.certificates.is_empty() {
        writeln!(out, "certificates = [")?;
        for grant in &peer.certificates {
            writeln!(out, "  {},", inline(grant))?;
        }
        writeln!(out, "]")?;
    }
    write_list(out, "scopes", &peer.scopes, |_| None)?;
    for (name, values) in [("accounts", &peer.accounts), ("files", &peer.files)] {
        if !values.is_empty() {
            write_list(out, name, values, |_| None)?;
        }
    }
    if peer.network {
        writeln!(out, "network = true")?;
    }
    if !peer.resources.is_empty() {
        writeln!(out, "\n[peers.resources]")?;
    }
    peer.resources
        .iter()
        .try_for_each(|(kind, values)| write_list(out, &quoted(kind), values, |_| None))
}

fn inline(grant: &CertificateGrant) -> String {
    let list = |names: &[String]| {
        let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        names.join(", ")
    };
    let users = match grant.users.is_empty() {
        true => String::new(),
        false => format!(", users = [{}]", list(&grant.users)),
    };
    format!(
        "{{ authority = {}, principals = [{}]{users} }}",
        quoted(&grant.authority),
        list(&grant.principals)
    )
}

fn write_list(
    out: &mut String,
    name: &str,
    values: &[String],
    note: impl Fn(&str) -> Option<String>,
) -> fmt::Result {
    if values.is_empty() {
        return writeln!(out, "{name} = []");
    }
    writeln!(out, "{name} = [")?;
    for value in values {
        write!(out, "  {},", quoted(value))?;
        if let Some(note) = note(value) {
            write!(out, " # {note}")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "]")
}

/// A basic string on one line, fit for values and keys alike.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
