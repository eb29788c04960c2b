//! What a shell completes beside commands and options: nodes, and files.

use std::ffi::OsStr;

use alknet_manual::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};

use super::nodes_file::NodesFile;

/// Nodes from nodes.toml, after `USER@` as well.
pub(crate) fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| nodes_like(word, ""))
}

/// Nodes with a colon behind them, and files of ours.
pub(crate) fn nodes_and_files() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let mut found = nodes_like(word, ":");
        found.extend(PathCompleter::any().complete(word));
        found
    })
}

fn nodes_like(word: &OsStr, suffix: &str) -> Vec<CompletionCandidate> {
    let Some(word) = word.to_str() else {
        return Vec::new();
    };
    let (user, begun) = match word.rsplit_once('@') {
        Some((user, begun)) => (format!("{user}@"), begun),
        None => (String::new(), word),
    };
    let nodes = NodesFile::of_user().ok();
    let names = nodes.into_iter().flat_map(NodesFile::names);
    names
        .filter(|name| name.starts_with(begun))
        .map(|name| CompletionCandidate::new(format!("{user}{name}{suffix}")))
        .collect()
}
