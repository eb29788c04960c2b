//! Who may read what of a state directory in accounts mode. All of it is root's;
//! the network-facing process reads what it needs by its group, and writes to
//! one directory of its own.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use alknet_monitor::AccountIds;
use rustix::fs::OFlags;

use crate::config::draft::Draft;
use crate::state::StateDir;

/// Gives the files their owners and modes. A file that the configuration names
/// outside of the state directory stays as it is.
///
/// # Errors
/// The file whose owner or mode could not be set, and why.
pub(crate) fn set_rights(
    state: &StateDir,
    draft: &Draft,
    network: &AccountIds,
) -> Result<(), RightsError> {
    let root = fs::canonicalize(state.root()).map_err(at(state.root()))?;
    // First, so that nobody else can exchange what is in it meanwhile.
    give(&root, Kind::Directory, 0, network.group, 0o750)?;
    for file in draft.files_of_secrets() {
        if is_within(&root, &file) {
            give(&file, Kind::File, 0, 0, 0o600)?;
        }
    }
    for file in [draft.file().to_owned(), draft.peers_file()] {
        if is_within(&root, &file) {
            give(&file, Kind::File, 0, network.group, 0o640)?;
        }
    }
    let plugins = draft.plugins_dir();
    if is_within(&root, &plugins) {
        give(&plugins, Kind::Directory, 0, network.group, 0o750)?;
        for entry in fs::read_dir(&plugins).map_err(at(&plugins))? {
            let entry = entry.map_err(at(&plugins))?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                give(&entry.path(), Kind::File, 0, network.group, 0o640)?;
            }
        }
    }
    let authority = root.join(crate::state::AUTHORITY);
    if is_within(&root, &authority) {
        // A node that signs keeps its records there.
        let (user, group) = (network.user, network.group);
        give(&authority, Kind::Directory, user, group, 0o700)?;
        for entry in fs::read_dir(&authority).map_err(at(&authority))? {
            let entry = entry.map_err(at(&authority))?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                give(&entry.path(), Kind::File, user, group, 0o600)?;
            }
        }
    }
    let run = root.join(crate::state::RUN);
    match fs::DirBuilder::new().mode(0o700).create(&run) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(at(&run)(error));
        }
        _ => {}
    }
    give(&run, Kind::Directory, network.user, network.group, 0o700)
}

/// The faults for which the network-facing process cannot work with these
/// files, one line each.
pub(crate) fn faults(draft: &Draft, user: &str, network: &AccountIds) -> Vec<String> {
    let mut faults = Vec::new();
    for file in draft.files_of_secrets() {
        // One that is not there is a fault elsewhere, or none.
        if let Ok(metadata) = fs::metadata(&file)
            && metadata.uid() != 0
            && !in_directory_of(draft, &file)
        {
            faults.push(format!(
                "{} belongs to the user id {}, and only root may read it where peers have accounts; run: chown root '{}'",
                file.display(),
                metadata.uid(),
                file.display()
            ));
        }
    }
    let dir = draft.file().parent().unwrap_or(Path::new("/")).to_owned();
    let mut needed = vec![dir.clone()];
    let program = std::env::current_exe().unwrap_or_default();
    for path in [draft.peers_file(), draft.plugins_dir(), program] {
        if !in_directory_of(draft, &path) {
            needed.push(path);
        }
    }
    for path in needed {
        if let Some(closed) = first_closed(&path, path != dir, network) {
            faults.push(format!(
                "the account {user} (accounts.network_user) cannot reach {}: {} is closed to it; keep the state directory in a place like /var/lib/alknet (--state), and programs and plugins where everybody reads them",
                path.display(),
                closed.display()
            ));
        }
    }
    faults
}

/// The innermost part of a path that the account may not enter or, at its end and
/// if `readable`, may not read.
fn first_closed(path: &Path, readable: bool, network: &AccountIds) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    let parts = real.ancestors().skip(usize::from(!readable));
    parts.map(Path::to_owned).find(|part| {
        fs::metadata(part).is_ok_and(|metadata| {
            let wanted = match metadata.is_dir() {
                true if *part == real => 0o5,
                true => 0o1,
                false => 0o4,
            };
            let shift = if metadata.uid() == network.user {
                6
            } else if network.groups.contains(&metadata.gid()) {
                3
            } else {
                0
            };
            (metadata.mode() >> shift) & wanted != wanted
        })
    })
}

fn in_directory_of(draft: &Draft, path: &Path) -> bool {
    let dir = draft
        .file()
        .parent()
        .and_then(|dir| dir.canonicalize().ok());
    dir.is_some_and(|dir| is_within(&dir, path))
}

/// Whether a path is there and leads into `root`, not by a link.
fn is_within(root: &Path, path: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| real.starts_with(root))
        && fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_symlink())
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Directory,
}

fn give(path: &Path, kind: Kind, user: u32, group: u32, mode: u32) -> Result<(), RightsError> {
    let failed = at(path);
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(&failed)?;
    let metadata = file.metadata().map_err(&failed)?;
    let fits = match kind {
        Kind::Directory => metadata.is_dir(),
        // A second name might be one of somebody else's choice.
        Kind::File => metadata.is_file() && metadata.nlink() == 1,
    };
    if !fits {
        return Err(failed(io::Error::other(match kind {
            Kind::Directory => "it is not a directory",
            Kind::File => "it is not a file with one name",
        })));
    }
    let right = metadata.uid() == user
        && metadata.gid() == group
        && metadata.permissions().mode() & 0o7777 == mode;
    if right {
        return Ok(());
    }
    fchown(&file, Some(user), Some(group)).map_err(&failed)?;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(&failed)
}

fn at(path: &Path) -> impl Fn(io::Error) -> RightsError + use<> {
    let path = path.to_owned();
    move |source| RightsError {
        path: path.clone(),
        source,
    }
}

/// A file could not be given its owner and mode.
#[derive(Debug, thiserror::Error)]
#[error("cannot set the owner and mode of {}: {source}", path.display())]
pub(crate) struct RightsError {
    path: PathBuf,
    source: io::Error,
}
