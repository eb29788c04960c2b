//! What a shell completes beside commands and options: peers, scopes, sessions, plugins, secrets.

use std::ffi::OsString;
use std::path::PathBuf;

use alknet_identity::Peer;
use alknet_manual::{ArgValueCandidates, CompletionCandidate, words};

use super::{StateArg, dir};
use crate::admin::{Request, Sessions, Status, ask};
use crate::config::draft::Draft;
use crate::state::StateDir;
use crate::walls::UNCONFINED;

/// Scopes as they begin, or as they are.
const SCOPES: [(&str, &str); 12] = [
    ("ssh:exec", "any command"),
    ("ssh:exec:", "one program, as ssh:exec:git-upload-pack"),
    ("ssh:shell", "a shell"),
    ("ssh:sftp", "sftp and scp"),
    ("ssh:forward:*:*", "forwards to anywhere"),
    ("ssh:forward:", "forwards to HOST:PORT"),
    ("ssh:listen:localhost:*", "listeners for this machine"),
    ("ssh:listen:", "listeners on ADDRESS:PORT"),
    ("ssh:streamlocal:", "forwards to a Unix socket"),
    ("ssh:agent", "agent forwarding"),
    ("ssh:env:", "one environment variable"),
    (
        UNCONFINED,
        "processes with the rights of the node's account",
    ),
];

/// The peers of the node.
pub(super) fn peers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| named(known_peers().into_iter().map(|peer| peer.id)))
}

/// Scopes that somebody may be given: those there are, and those that peers have.
pub(super) fn scopes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let known = SCOPES
            .iter()
            .map(|(scope, meaning)| CompletionCandidate::new(*scope).help(Some((*meaning).into())));
        let given = known_peers().into_iter().flat_map(|peer| peer.scopes);
        let given = given.filter(|scope| SCOPES.iter().all(|(known, _)| known != scope));
        known.chain(named(given)).collect()
    })
}

/// Scopes that the peer has whose name stands on the command line.
pub(super) fn scopes_of_peer() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let words: Vec<OsString> = words().collect();
        let mut peers = known_peers();
        peers.retain(|peer| words.iter().any(|word| *word == *peer.id));
        named(peers.into_iter().flat_map(|peer| peer.scopes))
    })
}

/// The sessions that are open, and whose they are.
pub(super) fn sessions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(sessions) = state().and_then(|state| {
            let sessions: Sessions = ask(&state, &Request::SessionsList {}).ok()?;
            Some(sessions.sessions)
        }) else {
            return Vec::new();
        };
        let numbers = sessions.iter().map(|session| {
            let number = format!("{}.{}", session.generation, session.id);
            CompletionCandidate::new(number).help(session.identity.clone().map(Into::into))
        });
        let peers = sessions
            .iter()
            .filter_map(|session| session.identity.clone());
        numbers.chain(named(peers)).collect()
    })
}

/// The plugins that serve.
pub(super) fn plugins() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let status = state().and_then(|state| ask::<Status>(&state, &Request::Status {}).ok());
        let generations = status.into_iter().flat_map(|status| status.generations);
        named(generations.map(|generation| generation.plugin))
    })
}

/// The names of secrets.
pub(super) fn secrets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let draft = state().and_then(|state| Draft::read(&state.config_file()).ok());
        let names = draft.and_then(|draft| draft.secrets_file().names().ok());
        named(names.into_iter().flatten())
    })
}

fn known_peers() -> Vec<Peer> {
    let draft = state().and_then(|state| Draft::read(&state.config_file()).ok());
    let config = draft.and_then(|draft| draft.read_peers().ok());
    config.map(|config| config.peers).unwrap_or_default()
}

/// The state directory that the command line names, or the one without.
fn state() -> Option<StateDir> {
    let words: Vec<OsString> = words().collect();
    let after = words.windows(2).find_map(|two| match two {
        [option, value] if option == "--state" => Some(value.clone()),
        _ => None,
    });
    let state = after.or_else(|| {
        let joined = words.iter().filter_map(|word| word.to_str());
        joined
            .filter_map(|word| word.strip_prefix("--state="))
            .map(OsString::from)
            .next()
    });
    let state = state.map(PathBuf::from);
    dir(StateArg { state }).ok()
}

/// Each once, in the order of their names.
fn named(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}
