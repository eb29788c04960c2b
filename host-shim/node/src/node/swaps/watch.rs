//! The watch on the plugins directory (`plugins.watch`), which polls for
//! changed files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alknet_loader::discover;

use super::swap::{Swapper, Wanted};

/// The interval at which the directory is looked at. A file that is the same
/// twice is taken for whole.
const PACE: Duration = Duration::from_secs(1);

/// Reloads plugins whose files change, while the configuration says so. Looks
/// at the directory again and again: that works on every file system.
pub(crate) async fn watch(swapper: Arc<Swapper>) {
    let mut done: Option<Files> = None;
    let mut settling: Option<Files> = None;
    loop {
        tokio::time::sleep(PACE).await;
        let config = swapper.reloader().config();
        if !config.plugins.watch {
            (done, settling) = (None, None);
            continue;
        }
        let dir = swapper.dir(&config.plugins.folder);
        let look = tokio::task::spawn_blocking(move || Files::of(&dir));
        let Ok(found) = look.await else { continue };
        if done.as_ref() == Some(&found) {
            settling = None;
        } else if settling.as_ref() == Some(&found) {
            (done, settling) = (Some(found), None);
            let swapper = Arc::clone(&swapper);
            let reload = tokio::task::spawn_blocking(move || swapper.reload(&Wanted::noticed()));
            // What went wrong is in the log.
            let _ = reload.await;
        } else {
            settling = Some(found);
        }
    }
}

/// The files of a directory, each with metadata that change when it does.
#[derive(PartialEq, Eq)]
struct Files(BTreeMap<PathBuf, Mark>);

#[derive(PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    fn of(dir: &Path) -> Self {
        let candidates = discover(dir).unwrap_or_default();
        let mark = |path: &Path| {
            let metadata = fs::symlink_metadata(path).ok()?;
            Some(Mark {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        };
        let files = candidates.iter().filter_map(|candidate| {
            let path = candidate.path();
            Some((path.to_owned(), mark(path)?))
        });
        Self(files.collect())
    }
}
