//! From what a program answers to an identity, checked as an entry of the peers
//! file is.

use std::path::PathBuf;

use alknet_handler::Identity;
use alknet_identity::{Peer, PeersConfig};
use alknet_session::Tree;
use serde_json::Value;

use crate::known::Known;
use crate::protocol::FoundIdentity;

/// The condition that stands for `expires`.
const EXPIRES: &str = "ssh:expires";

/// Why what a program answers is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It has not the form of one.
    #[error("the look-up's answer is not an identity: {0}")]
    Form(String),
    /// A part of it would not be valid in the peers file.
    #[error("the look-up's answer is not an identity: {0}")]
    Invalid(String),
    /// The time is given twice.
    #[error("the look-up's answer has `expires` and the resource {EXPIRES}; give one of the two")]
    ExpiresTwice,
    /// It has the id of a peer of the peers file.
    #[error("the look-up answered with the id {id:?}, which is that of a peer in the peers file")]
    Taken {
        /// The id.
        id: String,
    },
    /// A tree of it holds files of the node.
    #[error("the look-up's answer opens {tree}, and {closed} is not for peers")]
    Closed {
        /// The tree.
        tree: String,
        /// What is in it, or around it.
        closed: String,
    },
}

/// The identity that an answer describes.
///
/// # Errors
/// When it is not an identity, or not one that may be let in.
pub(crate) fn checked(
    answer: Value,
    known: &Known,
    closed: &[PathBuf],
) -> Result<Identity, AnswerError> {
    let found: FoundIdentity =
        serde_json::from_value(answer).map_err(|error| AnswerError::Form(error.to_string()))?;
    let mut resources = found.resources;
    if let Some(expires) = found.expires
        && (resources.insert(EXPIRES.to_owned(), vec![expires])).is_some()
    {
        return Err(AnswerError::ExpiresTwice);
    }
    let peer = Peer {
        id: found.id,
        scopes: found.scopes,
        accounts: found.accounts,
        files: found.files,
        network: found.network,
        resources,
        ..Peer::default()
    };
    let config = PeersConfig {
        peers: vec![peer],
        ..PeersConfig::default()
    };
    config.validate().map_err(|error| {
        let faults = error.faults.iter().map(|fault| {
            let pointer = fault.pointer.trim_start_matches("/peers/0");
            format!("{pointer}: {}", fault.problem)
        });
        AnswerError::Invalid(faults.collect::<Vec<_>>().join("; "))
    })?;
    let peer = config.peers.into_iter().next().unwrap_or_default();
    if known.has_id(&peer.id) {
        return Err(AnswerError::Taken { id: peer.id });
    }
    for text in &peer.files {
        let Ok(tree) = text.parse::<Tree>() else {
            continue;
        };
        let path = tree.path.canonicalize().unwrap_or(tree.path);
        if let Some(found) = closed
            .iter()
            .find(|closed| path.starts_with(closed) || closed.starts_with(&path))
        {
            return Err(AnswerError::Closed {
                tree: text.clone(),
                closed: found.display().to_string(),
            });
        }
    }
    Ok(peer.identity())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alknet_identity::PeerStore;
    use serde_json::json;

    use super::*;

    fn check(answer: Value) -> Result<Identity, String> {
        let peers = PeersConfig {
            peers: vec![Peer {
                id: "owner".to_owned(),
                disabled: true,
                ..Peer::default()
            }],
            ..PeersConfig::default()
        };
        let known = Known::new(Arc::new(PeerStore::new(peers).unwrap()));
        let closed = [PathBuf::from("/var/lib/node")];
        checked(answer, &known, &closed).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_is_like_an_entry_of_the_peers_file() {
        let identity = check(json!({
            "id": "ann@example.org",
            "scopes": ["ssh:exec"],
            "accounts": ["www"],
            "files": ["/srv/www:ro"],
            "resources": {"ssh:from": ["192.0.2.0/24"]},
            "expires": "2030-01-01T00:00:00Z",
        }))
        .unwrap();
        assert_eq!(identity.id, "ann@example.org");
        assert_eq!(identity.resources["accounts"], ["www"]);
        assert_eq!(identity.resources["ssh:expires"], ["2030-01-01T00:00:00Z"]);
        assert_eq!(identity.resources["ssh:from"], ["192.0.2.0/24"]);
    }

    #[test]
    fn what_is_not_one_lets_nobody_in() {
        for (answer, words) in [
            (json!("ann"), "FoundIdentity"),
            (json!({"scopes": []}), "missing field `id`"),
            (json!({"id": "a", "scope": ["ssh:exec"]}), "scope"),
            (json!({"id": "a b"}), "/id: "),
            (json!({"id": "a\nb"}), "/id: "),
            (json!({"id": "ssh:exec"}), "/id: "),
            (json!({"id": "a", "scopes": ["ssh:exce"]}), "/scopes/0: "),
            (json!({"id": "a", "expires": "soon"}), "ssh:expires"),
            (json!({"id": "a", "accounts": ["a b"]}), "/accounts/0: "),
            (json!({"id": "a", "files": ["srv"]}), "/files/0: "),
            (
                json!({"id": "a", "resources": {"ssh:form": ["::1"]}}),
                "ssh:form",
            ),
            (
                json!({"id": "a", "expires": "2030-01-01T00:00:00Z", "resources": {"ssh:expires": ["2031-01-01T00:00:00Z"]}}),
                "one of the two",
            ),
            (json!({"id": "owner"}), "in the peers file"),
            (
                json!({"id": "a", "files": ["/var/lib/node/x:rw"]}),
                "not for peers",
            ),
            (json!({"id": "a", "files": ["/:ro"]}), "not for peers"),
        ] {
            let error = check(answer.clone()).unwrap_err();
            assert!(error.contains(words), "{answer}: {error}");
        }
    }
}
