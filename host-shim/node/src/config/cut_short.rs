//! Half a file is not a configuration. Whoever writes a file in place empties
//! it first, and a full disk or a crash leaves it so, or ends it somewhere: in
//! TOML that is often valid, and says that nobody may do anything.

use std::sync::Arc;

use alknet_document::{Document, Fault};
use serde_json::Value;

/// The texts of the configuration that is in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    pub(crate) node: Arc<str>,
    pub(crate) peers: Arc<str>,
}

/// The node's two configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigFile {
    Node,
    Peers,
}

/// The advice of a fault, for an operator who meant the change.
const MEANT: &str = "if it is meant, run: alknet-node reload --accept-empty";

/// The fault if `now` is taken for half of a file, given the text `before`: it
/// is empty and the one before was not, it names no peer any more, or it is the
/// one before up to a place where no entry ends.
pub(crate) fn half_a_file(kind: ConfigFile, before: &str, now: &Document) -> Option<Fault> {
    let fault = |message: &str| Some(Fault::at(now, "", message).with_hint(MEANT));
    if is_empty(now.value()) && says_something(before, now) {
        return fault("the file is empty, and was not before: taken for half of a file");
    }
    if kind == ConfigFile::Peers && names_nobody(now.value()) && named_somebody(before, now) {
        return fault("the file names no peer any more: taken for half of a file");
    }
    if is_torn(before, now.text()) {
        return fault("the file ends within what it said before: taken for half of a file");
    }
    None
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.is_empty())
}

fn names_nobody(value: &Value) -> bool {
    let peers = value.get("peers").and_then(Value::as_array);
    peers.is_none_or(Vec::is_empty)
}

fn says_something(before: &str, now: &Document) -> bool {
    parsed(before, now).is_some_and(|value| !is_empty(&value))
}

fn named_somebody(before: &str, now: &Document) -> bool {
    parsed(before, now).is_some_and(|value| !names_nobody(&value))
}

fn parsed(before: &str, now: &Document) -> Option<Value> {
    let document = Document::parse(before, now.format(), "before").ok()?;
    Some(document.value().clone())
}

/// Whether `now` is the beginning of `before`, and what is missing does not
/// begin with an entry (`[…]`), as it does where somebody took entries out.
fn is_torn(before: &str, now: &str) -> bool {
    let Some(missing) = before.strip_prefix(now) else {
        return false;
    };
    let is_said = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let Some(next) = missing.lines().find(is_said) else {
        // Blank lines and remarks.
        return false;
    };
    // It ended within a line, or the next belongs to what comes before.
    !(now.is_empty() || now.ends_with('\n') || missing.starts_with('\n'))
        || !next.trim_start().starts_with('[')
}

#[cfg(test)]
mod tests {
    use alknet_document::Format;

    use super::*;

    const PEERS: &str = "# Who may connect.\n\n[[peers]]\nid = \"a\"\nkeys = [\"k\"]\n\n\
                         [[peers]]\nid = \"b\"\nkeys = [\n  \"l\",\n]\n";

    fn verdict(kind: ConfigFile, now: &str) -> Option<String> {
        let now = Document::parse(now, Format::Toml, "peers.toml").ok()?;
        half_a_file(kind, PEERS, &now).map(|fault| fault.to_string())
    }

    #[test]
    fn every_beginning_of_a_file_is_told_from_one_that_was_shortened() {
        let meant = PEERS.find("\n[[peers]]\nid = \"b\"").unwrap();
        for end in 0..PEERS.len() {
            let now = &PEERS[..end];
            if Document::parse(now, Format::Toml, "x").is_err() {
                continue;
            }
            // The second peer was taken out, with the line between or not.
            let whole = [meant, meant + 1, PEERS.len() - 1].contains(&end);
            // Within the line that ends the first entry nothing is lost.
            let whole = whole || end + 1 == meant;
            let said = verdict(ConfigFile::Peers, now);
            assert_eq!(said.is_none(), whole, "{end}: {said:?}\n{now}");
        }
    }

    #[test]
    fn an_empty_file_is_refused_unless_it_was_empty_before() {
        for now in ["", "\n", "# nothing\n", "\"$schema\" = \"x\"\n"] {
            let said = verdict(ConfigFile::Node, now).unwrap();
            assert!(
                said.contains("is empty") && said.contains("--accept-empty"),
                "{said}"
            );
        }
        let now = Document::parse("", Format::Toml, "x").unwrap();
        assert_eq!(half_a_file(ConfigFile::Peers, "# none yet\n", &now), None);
        let said = verdict(ConfigFile::Peers, "peers = []\n").unwrap();
        assert!(said.contains("no peer any more"), "{said}");
    }

    #[test]
    fn a_file_that_was_changed_is_not_half_of_one() {
        let fewer = PEERS.replace("id = \"a\"", "id = \"c\"");
        assert_eq!(verdict(ConfigFile::Peers, &fewer), None);
        assert_eq!(verdict(ConfigFile::Peers, PEERS), None);
    }
}
