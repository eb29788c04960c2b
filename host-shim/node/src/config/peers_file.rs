//! Changes the peers file as an operator would: one entry at a time, the rest
//! of the text as it was, and only to something that is valid.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alknet_document::{Document, Fault, Format};
use alknet_identity::{CertificateGrant, Imported, Peer, PeersConfig};
use serde_json::{Value, json};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table};

use crate::config::draft::check_peers;
use crate::state::lock_dir;
use crate::state::replace_file::replace;

/// A change of the peers file.
pub(crate) enum Change<'a> {
    /// Adds a peer.
    Add(&'a Peer),
    /// Removes the peer with this id.
    Remove(&'a str),
    /// Disables a peer (true) or lets it in again (false).
    Disable(&'a str, bool),
    /// Grants scopes to a peer; those it has stay as they are.
    Grant(&'a str, &'a [String]),
    /// Revokes scopes of a peer.
    Revoke(&'a str, &'a [String]),
    /// Lets a peer in by certificates as well.
    Certify(&'a str, &'a CertificateGrant),
    /// Adds the peers and authorities of an imported `authorized_keys` file.
    Import(&'a Imported),
}

/// Makes a change and gives the peers as they are then.
///
/// # Errors
/// When the file cannot be changed, or would not be valid; it stays as it was.
pub(crate) fn change(file: &Path, change: &Change<'_>) -> Result<PeersConfig, PeersFileError> {
    make(file, change, true)
}

/// Makes a change without writing it.
///
/// # Errors
/// When that change could not be made.
pub(crate) fn try_out(file: &Path, change: &Change<'_>) -> Result<PeersConfig, PeersFileError> {
    make(file, change, false)
}

fn make(file: &Path, change: &Change<'_>, write: bool) -> Result<PeersConfig, PeersFileError> {
    let failed = |source| PeersFileError::Io {
        file: file.to_owned(),
        source,
    };
    let format = Format::of(file).ok_or_else(|| PeersFileError::Format {
        file: file.to_owned(),
    })?;
    // The file itself, where a link leads to it.
    let target = fs::canonicalize(file).map_err(failed)?;
    let dir = target.parent().unwrap_or(Path::new("/"));
    // Of two changes at once, the second sees the first.
    let _lock = lock_dir(dir).map_err(failed)?;
    let text = fs::read_to_string(&target).map_err(failed)?;
    let present = parse(file, format, &text)?;
    check_id(&present, change)?;
    let text = match format {
        Format::Toml => in_toml(file, &text, change)?,
        Format::Json => in_json(&text, &present, change)?,
    };
    let next = parse(file, format, &text)?;
    if write {
        replace(&target, &text).map_err(failed)?;
    }
    Ok(next)
}

fn parse(file: &Path, format: Format, text: &str) -> Result<PeersConfig, PeersFileError> {
    let document = Document::parse(text, format, file.display().to_string())
        .map_err(|fault| PeersFileError::Invalid(vec![fault]))?;
    match check_peers(&document) {
        Ok((peers, _)) => Ok(peers),
        Err(faults) => Err(PeersFileError::Invalid(faults)),
    }
}

fn check_id(present: &PeersConfig, change: &Change<'_>) -> Result<(), PeersFileError> {
    let known = |id: &str| present.peers.iter().any(|peer| peer.id == id);
    match change {
        Change::Add(peer) if known(&peer.id) => Err(PeersFileError::Known {
            id: peer.id.clone(),
        }),
        Change::Remove(id)
        | Change::Disable(id, _)
        | Change::Grant(id, _)
        | Change::Revoke(id, _)
        | Change::Certify(id, _)
            if !known(id) =>
        {
            let mut ids: Vec<&str> = present.peers.iter().map(|peer| &*peer.id).collect();
            ids.truncate(20);
            Err(PeersFileError::Unknown {
                id: (*id).to_owned(),
                known: match ids.is_empty() {
                    true => "there are none".to_owned(),
                    false => format!("there are {}", ids.join(", ")),
                },
            })
        }
        Change::Revoke(id, scopes) => {
            let peer = present.peers.iter().find(|peer| peer.id == *id);
            let has = peer.map_or(&[][..], |peer| peer.scopes.as_slice());
            match scopes.iter().find(|scope| !has.contains(scope)) {
                None => Ok(()),
                Some(scope) => Err(PeersFileError::NotGranted {
                    id: (*id).to_owned(),
                    scope: scope.clone(),
                    has: match has.is_empty() {
                        true => "none".to_owned(),
                        false => has.join(", "),
                    },
                }),
            }
        }
        _ => Ok(()),
    }
}

fn in_toml(file: &Path, text: &str, change: &Change<'_>) -> Result<String, PeersFileError> {
    let shape = || PeersFileError::Shape {
        file: file.to_owned(),
    };
    let mut document: DocumentMut = text.parse().map_err(|_| shape())?;
    let empty = match document.get("peers") {
        None => true,
        Some(item) => item.as_array().is_some_and(Array::is_empty),
    };
    if empty {
        document.insert("peers", Item::ArrayOfTables(ArrayOfTables::new()));
    }
    // Peers on one line each are left to their owner.
    let peers = document
        .get_mut("peers")
        .and_then(Item::as_array_of_tables_mut)
        .ok_or_else(shape)?;
    let place = |peers: &ArrayOfTables, id: &str| {
        let mut tables = peers.iter();
        tables.position(|peer| peer.get("id").and_then(Item::as_str) == Some(id))
    };
    let mut detached = None;
    match change {
        Change::Add(peer) => peers.push(table(peer)),
        Change::Import(imported) => {
            imported
                .peers
                .iter()
                .for_each(|peer| peers.push(table(peer)));
            if !imported.authorities.is_empty() {
                let authorities = document
                    .entry("authorities")
                    .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
                    .as_array_of_tables_mut()
                    .ok_or_else(shape)?;
                for authority in &imported.authorities {
                    let mut table = Table::new();
                    table.decor_mut().set_prefix("\n");
                    table.insert("id", toml_edit::value(&authority.id));
                    table.insert("keys", list(&authority.keys));
                    authorities.push(table);
                }
            }
        }
        Change::Remove(id) => {
            let place = place(peers, id).ok_or_else(shape)?;
            detached = peers.get(place).map(detached_comment);
            peers.remove(place);
            if let (Some(comment), Some(next)) = (&detached, peers.get_mut(place)) {
                let own = next.decor().prefix().and_then(|prefix| prefix.as_str());
                let prefix = format!("{comment}{}", own.unwrap_or_default());
                next.decor_mut().set_prefix(prefix);
                detached = None;
            }
        }
        Change::Disable(id, disabled) => {
            let place = place(peers, id).ok_or_else(shape)?;
            let peer = peers.get_mut(place).ok_or_else(shape)?;
            if *disabled {
                peer.insert("disabled", toml_edit::value(true));
            } else {
                peer.remove("disabled");
            }
        }
        Change::Grant(id, granted) => {
            let scopes = scopes(peers, place(peers, id)).ok_or_else(shape)?;
            let on_lines = scopes.iter().any(|value| {
                let prefix = value.decor().prefix().and_then(|prefix| prefix.as_str());
                prefix.is_some_and(|prefix| prefix.contains('\n'))
            });
            for scope in *granted {
                if scopes.iter().any(|value| value.as_str() == Some(scope)) {
                    continue;
                }
                let mut value = toml_edit::Value::from(scope.as_str());
                if on_lines {
                    value.decor_mut().set_prefix("\n  ");
                    scopes.push_formatted(value);
                } else {
                    scopes.push(value);
                }
            }
        }
        Change::Certify(id, grant) => {
            let place = place(peers, id).ok_or_else(shape)?;
            let peer = peers.get_mut(place).ok_or_else(shape)?;
            let list = peer
                .entry("certificates")
                .or_insert_with(|| toml_edit::value(Array::new()));
            // Tables of their own are left to their owner.
            list.as_array_mut().ok_or_else(shape)?.push(inline(grant));
        }
        Change::Revoke(id, revoked) => {
            let scopes = scopes(peers, place(peers, id)).ok_or_else(shape)?;
            scopes.retain(|value| {
                let scope = value.as_str().unwrap_or_default();
                !revoked.iter().any(|revoked| revoked == scope)
            });
        }
    }
    let mut text = document.to_string();
    if let Some(comment) = detached {
        text.push_str(&comment);
    }
    Ok(text)
}

/// The list of a peer's scopes.
fn scopes(peers: &mut ArrayOfTables, place: Option<usize>) -> Option<&mut Array> {
    let peer = peers.get_mut(place?)?;
    let scopes = peer
        .entry("scopes")
        .or_insert_with(|| toml_edit::value(Array::new()));
    scopes.as_array_mut()
}

/// The text before a peer's entry that is not about it: all up to the last
/// empty line.
fn detached_comment(peer: &Table) -> String {
    let prefix = peer.decor().prefix().and_then(|prefix| prefix.as_str());
    let prefix = prefix.unwrap_or_default();
    let end = prefix.rfind("\n\n").map_or(0, |end| end + 1);
    prefix.get(..end).unwrap_or_default().to_owned()
}

/// A TOML array with one value a line.
fn list(values: &[String]) -> Item {
    let mut list = short(values);
    if !values.is_empty() {
        list.iter_mut()
            .for_each(|value| value.decor_mut().set_prefix("\n  "));
        list.set_trailing("\n");
        list.set_trailing_comma(true);
    }
    toml_edit::value(list)
}

fn short(values: &[String]) -> Array {
    values.iter().map(String::as_str).collect()
}

fn certificates(grants: &[CertificateGrant]) -> Item {
    toml_edit::value(grants.iter().map(inline).collect::<Array>())
}

fn inline(grant: &CertificateGrant) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("authority", grant.authority.as_str().into());
    table.insert("principals", short(&grant.principals).into());
    if !grant.users.is_empty() {
        table.insert("users", short(&grant.users).into());
    }
    table
}

fn table(peer: &Peer) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("id", toml_edit::value(&peer.id));
    table.insert("keys", list(&peer.keys));
    if !peer.node_keys.is_empty() {
        table.insert("node_keys", list(&peer.node_keys));
    }
    if !peer.certificates.is_empty() {
        table.insert("certificates", certificates(&peer.certificates));
    }
    table.insert("scopes", list(&peer.scopes));
    for (name, values) in [("accounts", &peer.accounts), ("files", &peer.files)] {
        if !values.is_empty() {
            table.insert(name, list(values));
        }
    }
    if peer.network {
        table.insert("network", toml_edit::value(true));
    }
    if !peer.resources.is_empty() {
        let mut resources = InlineTable::new();
        for (kind, values) in &peer.resources {
            resources.insert(kind, short(values).into());
        }
        table.insert("resources", toml_edit::value(resources));
    }
    table
}

fn in_json(
    text: &str,
    present: &PeersConfig,
    change: &Change<'_>,
) -> Result<String, PeersFileError> {
    let mut next = present.clone();
    // Editors want it; reading the document leaves it out.
    next.schema = serde_json::from_str(text)
        .ok()
        .and_then(|value: Value| value.get("$schema")?.as_str().map(str::to_owned));
    match change {
        Change::Add(peer) => next.peers.push((*peer).clone()),
        Change::Import(imported) => {
            next.authorities.extend_from_slice(&imported.authorities);
            next.peers.extend_from_slice(&imported.peers);
        }
        Change::Remove(id) => next.peers.retain(|peer| peer.id != *id),
        Change::Disable(id, disabled) => next
            .peers
            .iter_mut()
            .filter(|peer| peer.id == *id)
            .for_each(|peer| peer.disabled = *disabled),
        Change::Grant(id, granted) => {
            for peer in next.peers.iter_mut().filter(|peer| peer.id == *id) {
                for scope in *granted {
                    if !peer.scopes.contains(scope) {
                        peer.scopes.push(scope.clone());
                    }
                }
            }
        }
        Change::Certify(id, grant) => next
            .peers
            .iter_mut()
            .filter(|peer| peer.id == *id)
            .for_each(|peer| peer.certificates.push((*grant).clone())),
        Change::Revoke(id, revoked) => next
            .peers
            .iter_mut()
            .filter(|peer| peer.id == *id)
            .for_each(|peer| peer.scopes.retain(|scope| !revoked.contains(scope))),
    }
    let value: Value = json!(next);
    Ok(format!("{value:#}\n"))
}

/// Why the peers file was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeersFileError {
    /// The file cannot be read or written.
    #[error("{}: cannot change the peers file: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's name says no format.
    #[error("{}: the name of the peers file must end in .toml or .json", file.display())]
    Format {
        /// The file.
        file: PathBuf,
    },
    /// The file is not valid, or would not be after the change.
    #[error("the peers file is not valid")]
    Invalid(Vec<Fault>),
    /// A peer with the id of a new one exists.
    #[error(
        "the peer {id:?} exists; edit its entry in the peers file, or remove it first with `alknet-node peers remove {id}`"
    )]
    Known {
        /// The peer.
        id: String,
    },
    /// The peer does not have that scope.
    #[error("the peer {id:?} does not have the scope {scope}; it has {has}")]
    NotGranted {
        /// The peer.
        id: String,
        /// The scope.
        scope: String,
        /// The scopes that the peer has.
        has: String,
    },
    /// No peer has the id.
    #[error("there is no peer {id:?}; {known}")]
    Unknown {
        /// The id asked for.
        id: String,
        /// The ids of all peers.
        known: String,
    },
    /// The file's peers are written in a form that this code does not change.
    #[error(
        "{}: the peers are not written as [[peers]] tables; write them so, or edit the file by hand and run `alknet-node reload`",
        file.display()
    )]
    Shape {
        /// The file.
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn peer(id: &str) -> Peer {
        Peer {
            id: id.to_owned(),
            scopes: vec!["ssh:exec".to_owned()],
            ..Peer::default()
        }
    }

    /// A change of a file with that text, and the text then.
    fn changed(name: &str, text: &str, made: &Change<'_>) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let outcome = change(&file, made);
        let after = fs::read_to_string(&file).unwrap();
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        match outcome {
            Ok(_) => Ok(after),
            Err(error) => {
                assert_eq!(after, text, "it stays as it was");
                Err(error.to_string())
            }
        }
    }

    const COMMENTED: &str = "# Who may connect.\n\n# the boss\n[[peers]]\nid = \"a\" # first\nscopes = []\n\n# the other\n[[peers]]\nid = \"b\"\n";

    #[test]
    fn comments_survive_every_change() {
        let mut c = peer("c");
        c.keys = vec![KEY.to_owned()];
        let added = changed("p.toml", COMMENTED, &Change::Add(&c)).unwrap();
        assert_eq!(
            added,
            format!(
                "{COMMENTED}\n[[peers]]\nid = \"c\"\nkeys = [\n  \"{KEY}\",\n]\nscopes = [\n  \"ssh:exec\",\n]\n"
            )
        );
        let removed = changed("p.toml", COMMENTED, &Change::Remove("a")).unwrap();
        assert_eq!(
            removed,
            "# Who may connect.\n\n# the other\n[[peers]]\nid = \"b\"\n"
        );
        let last = changed("p.toml", &removed, &Change::Remove("b")).unwrap();
        assert_eq!(last, "# Who may connect.\n");
        let disabled = changed("p.toml", COMMENTED, &Change::Disable("b", true)).unwrap();
        assert_eq!(disabled, format!("{COMMENTED}disabled = true\n"));
        let enabled = changed("p.toml", &disabled, &Change::Disable("b", false)).unwrap();
        assert_eq!(enabled, COMMENTED);
    }

    #[test]
    fn the_first_peer_of_an_empty_file_is_added() {
        for text in ["", "peers = []\n", "# nobody\n"] {
            let added = changed("p.toml", text, &Change::Add(&peer("a"))).unwrap();
            assert!(added.contains("[[peers]]\nid = \"a\"\n"), "{added}");
        }
    }

    #[test]
    fn what_was_imported_reads_back_the_same() {
        let settings = alknet_identity::ImportSettings {
            id_prefix: "in-".to_owned(),
            user: Some("root".to_owned()),
            zone: jiff::tz::TimeZone::UTC,
        };
        let keys = format!(
            "cert-authority,restrict,expiry-time=\"20300101\",from=\"10.0.0.0/8\" {KEY} the ca\n"
        );
        let present = PeersConfig::default();
        let imported = alknet_identity::import_authorized_keys(&keys, &settings, &present).unwrap();
        for (name, text) in [("p.toml", COMMENTED), ("p.toml", ""), ("p.json", "{}")] {
            let after = changed(name, text, &Change::Import(&imported)).unwrap();
            if name == "p.toml" {
                assert!(after.starts_with(text), "{after}");
            }
            let format = Format::of(Path::new(name)).unwrap();
            let read = parse(Path::new(name), format, &after).unwrap();
            assert_eq!(read.authorities, imported.authorities, "{after}");
            assert_eq!(read.peers.last(), imported.peers.last(), "{after}");
        }
    }

    #[test]
    fn json_is_changed_too() {
        let text = r#"{"peers":[{"id":"a"}]}"#;
        let added = changed("p.json", text, &Change::Add(&peer("b"))).unwrap();
        let value: Value = serde_json::from_str(&added).unwrap();
        assert_eq!(value["peers"][1]["id"], "b");
    }

    #[test]
    fn what_would_not_be_valid_is_not_written() {
        for (made, said) in [
            (Change::Add(&peer("a")), "exists"),
            (Change::Add(&peer("x y")), "not valid"),
            (Change::Remove("z"), "there are a, b"),
            (Change::Disable("z", true), "no peer"),
        ] {
            let error = changed("p.toml", COMMENTED, &made).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let inline = "peers = [{ id = \"a\" }]\n";
        let error = changed("p.toml", inline, &Change::Remove("a")).unwrap_err();
        assert!(error.contains("[[peers]]"), "{error}");
    }
}
