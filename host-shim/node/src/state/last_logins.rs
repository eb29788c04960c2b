//! When each peer logged in last, kept across restarts.
//!
//! A log-in notes a time in memory; the file is written by the node's upkeep, so
//! no connection waits for a disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::StateDir;
use crate::state::replace_file;

/// The file, in the directory that the node writes to: seconds since 1970 by
/// the peer's id.
const FILE: &str = "last_logins.json";

/// The most peers that are remembered; beyond it, those are forgotten that
/// logged in longest ago.
const MOST: usize = 10_000;

type Times = BTreeMap<String, u64>;

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    file: None,
    times: BTreeMap::new(),
    changed: false,
});

struct Kept {
    /// The file that is written; `None` before [`open`].
    file: Option<PathBuf>,
    times: Times,
    changed: bool,
}

/// Goes on with what the file in `directory` says, or without it where it cannot
/// be read.
pub(crate) fn open(directory: &Path) {
    let file = directory.join(FILE);
    let times = read_file(&file);
    let mut kept = kept();
    kept.times = times;
    kept.file = Some(file);
}

/// Writes what has changed since it was written last. Blocks.
pub(crate) fn save() {
    let (file, text) = {
        let mut kept = kept();
        let Some(file) = kept.file.clone().filter(|_| kept.changed) else {
            return;
        };
        kept.changed = false;
        (file, serde_json::to_string(&kept.times).unwrap_or_default())
    };
    if let Err(error) = replace_file::write(&file, &text) {
        // The next turn tries again.
        kept().changed = true;
        tracing::debug!(%error, file = %file.display(), "the last log-ins were not written");
    }
}

/// Reads the log-ins that a node has written into its state directory, whether
/// it runs or not.
pub(crate) fn read(state: &StateDir) -> Times {
    let mut times = read_file(&state.root().join(FILE));
    for (id, time) in read_file(&state.run_directory().join(FILE)) {
        let known = times.entry(id).or_default();
        *known = time.max(*known);
    }
    times
}

fn read_file(file: &Path) -> Times {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Times::new(),
        Err(error) => {
            tracing::debug!(%error, file = %file.display(), "the last log-ins cannot be read");
            return Times::new();
        }
    };
    serde_json::from_str(&text).unwrap_or_default()
}

/// Notes that this peer logs in now.
pub(crate) fn note(id: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    kept().note(id, now.map_or(0, |now| now.as_secs()));
}

impl Kept {
    fn note(&mut self, id: &str, now: u64) {
        if self.times.len() >= MOST && !self.times.contains_key(id) {
            let oldest = self.times.iter().min_by_key(|(_, time)| **time);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.times.remove(&id);
            }
        }
        self.changed |= self.times.insert(id.to_owned(), now) != Some(now);
    }
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut kept = Kept {
            file: None,
            times: Times::new(),
            changed: false,
        };
        for (number, id) in (0..MOST + 2).map(|number| (number, format!("p{number}"))) {
            kept.note(&id, number as u64);
        }
        assert!(kept.changed);
        assert_eq!(kept.times.len(), MOST);
        assert!(!kept.times.contains_key("p1") && kept.times.contains_key("p2"));
    }

    #[test]
    fn a_file_that_is_not_one_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path());
        assert!(read(&state).is_empty());
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(read(&state).is_empty());
        fs::write(directory.path().join(FILE), r#"{"a":5,"b":1}"#).unwrap();
        fs::create_dir(state.run_directory()).unwrap();
        fs::write(state.run_directory().join(FILE), r#"{"a":4,"b":2}"#).unwrap();
        let times = read(&state);
        assert_eq!((times["a"], times["b"]), (5, 2));
    }
}
