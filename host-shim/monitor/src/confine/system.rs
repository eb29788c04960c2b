//! The part of the system that confined processes may read and execute.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::account::Account;

/// The directories that programs need to run. Not all systems have all of
/// them.
const TREES: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/etc",
];
/// The directory that holds secrets of the system beside what everybody needs.
const MIXED: &str = "/etc";
/// The most entries that are looked at; a directory with more is left out.
const MOST_ENTRIES: usize = 20_000;

/// What confined processes may read and execute of the system: the trees
/// above without what is private to the node, and without what `own`, whose
/// user id they have, may read but not every account may. (As root, that is
/// /etc/shadow.)
pub(crate) fn system_trees(own: &Account, private: &[PathBuf]) -> Vec<PathBuf> {
    let private: Vec<_> = private
        .iter()
        .map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
        .collect();
    let mut found = Vec::new();
    for tree in TREES {
        // /bin is a link to /usr/bin on most systems; the real path counts.
        let Ok(tree) = fs::canonicalize(tree) else {
            continue;
        };
        let mut search = Search {
            own,
            private: &private,
            modes: tree == Path::new(MIXED),
            left: MOST_ENTRIES,
        };
        match search.share(&tree) {
            Share::Whole => found.push(tree),
            Share::Parts(parts) => found.extend(parts),
            Share::None => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The part of a tree that everybody may read.
enum Share {
    Whole,
    Parts(Vec<PathBuf>),
    None,
}

struct Search<'a> {
    own: &'a Account,
    private: &'a [PathBuf],
    /// Whether modes are looked at.
    modes: bool,
    left: usize,
}

impl Search<'_> {
    fn share(&mut self, path: &Path) -> Share {
        let Some(left) = self.left.checked_sub(1) else {
            return Share::None;
        };
        self.left = left;
        if self.private.iter().any(|private| path.starts_with(private)) {
            return Share::None;
        }
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Share::None;
        };
        if metadata.is_symlink() {
            // It grants nothing; where it leads is looked at by itself.
            return Share::Whole;
        }
        if self.modes && self.is_reserved(&metadata) {
            return Share::None;
        }
        let holds_private = self.private.iter().any(|private| private.starts_with(path));
        if !metadata.is_dir() || !(self.modes || holds_private) {
            return Share::Whole;
        }
        let Ok(entries) = fs::read_dir(path) else {
            // What is in a directory that our account cannot enter is out of
            // its reach whatever the rules say; one rule is then enough for
            // all around it.
            return match access(path, Access::EXEC_OK) {
                Err(Errno::ACCESS) => Share::Whole,
                _ => Share::None,
            };
        };
        let mut whole = true;
        let mut parts = Vec::new();
        for entry in entries.flatten() {
            let entry = entry.path();
            match self.share(&entry) {
                Share::Whole => parts.push(entry),
                Share::Parts(more) => {
                    whole = false;
                    parts.extend(more);
                }
                Share::None => whole = false,
            }
        }
        if whole {
            return Share::Whole;
        }
        parts.retain(|part| !part.is_symlink());
        Share::Parts(parts)
    }

    /// Whether our account may read it but not every account may.
    fn is_reserved(&self, metadata: &fs::Metadata) -> bool {
        let needed = if metadata.is_dir() { 0o5 } else { 0o4 };
        let everybody = metadata.mode() & needed == needed;
        let groups = || self.own.groups.iter().chain([&self.own.gid]);
        let ours = metadata.uid() == self.own.uid.as_raw()
            || groups().any(|group| group.as_raw() == metadata.gid());
        ours && !everybody
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_not_everybody_may_read_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for name in ["open", "mixed", "state"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("a"), "").unwrap();
        }
        let secret = root.join("mixed/secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let own = Account::current();
        let private = [root.join("state")];
        let mut search = Search {
            own: &own,
            private: &private,
            modes: true,
            left: 100,
        };
        let Share::Parts(mut parts) = search.share(&root) else {
            panic!("not in parts");
        };
        parts.sort();
        assert_eq!(parts, [root.join("mixed/a"), root.join("open")]);
    }

    #[test]
    fn the_systems_programs_are_there_and_its_secrets_are_not() {
        let found = system_trees(&Account::current(), &[]);
        assert!(found.contains(&PathBuf::from("/usr")), "{found:?}");
        let shadow = Path::new("/etc/shadow");
        if fs::read(shadow).is_ok() {
            assert!(
                !found.iter().any(|tree| shadow.starts_with(tree)),
                "{found:?}"
            );
        }
    }
}
