//! The list of everything to copy, made before the first byte is copied.

use alknet_ssh::client::{FileAttributes, FileKind, FilesError, ListingLimit};

use super::file_system::FileSystem;
use super::part::is_part;
use super::path::{Ends, shown};

/// Everything that a copy will do, found out before it begins.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Directories to make, those above before those in them.
    pub(super) folders: Vec<Item>,
    pub(super) files: Vec<Item>,
    /// What cannot be copied, with the reason, one line each.
    pub(super) left_out: Vec<String>,
}

/// One file or directory.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    pub(super) attributes: FileAttributes,
}

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("{path}: {error}")]
    Files { path: String, error: FilesError },
    #[error("{path} is not a directory, and several things cannot be copied to one name")]
    NoFolder { path: String },
    #[error(
        "{path}: with this there are more than {MAX_ENTRIES} files and directories, or {} MiB of their names; nothing was copied. Copy parts of it one after the other",
        MAX_BYTES / (1024 * 1024)
    )]
    TooMuch { path: String },
}

/// The deepest nesting of directories that is followed.
const DEEPEST: usize = 200;
/// The most files and directories of one copy. A server could list without end.
const MAX_ENTRIES: usize = 1_000_000;
/// The most memory for their paths and attributes, about, in bytes.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// The memory that one takes beside its paths, about, in bytes.
const ITEM_BYTES: usize = 128;
/// The longest path that a system takes (`PATH_MAX`), without its final zero.
const LONGEST_PATH: usize = 4095;
/// The longest name of a file that one takes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;
/// The most messages about files that are left out; further ones are counted.
const MAX_LEFT_OUT: usize = 1000;

/// Finds out what is to be copied, and where to.
pub(super) async fn plan(
    from: &impl FileSystem,
    to: &impl FileSystem,
    ends: &Ends,
    recursive: bool,
) -> Result<Plan, PlanError> {
    let target = to.stat(&ends.target).await.map_err(at(&ends.target))?;
    let into = target.is_some_and(|target| target.kind == Some(FileKind::Folder));
    if !into && (ends.sources.len() > 1 || ends.target.ends_with(b"/") && !recursive) {
        let path = shown(&ends.target);
        return Err(PlanError::NoFolder { path });
    }
    let mut walk = Walk {
        place: from,
        recursive,
        plan: Plan::default(),
        room: ListingLimit {
            entries: MAX_ENTRIES,
            bytes: MAX_BYTES,
        },
        untold: 0,
    };
    for source in &ends.sources {
        let to = match last_name(source).filter(|_| into) {
            Some(name) => join(&ends.target, name),
            None => ends.target.clone(),
        };
        walk.add_source(source, to).await?;
    }
    Ok(walk.finish())
}

struct Walk<'a, P> {
    place: &'a P,
    recursive: bool,
    plan: Plan,
    /// The entries and bytes that may still be added.
    room: ListingLimit,
    /// The number of files left out that are not among the messages.
    untold: usize,
}

impl<P: FileSystem> Walk<'_, P> {
    async fn add_source(&mut self, source: &[u8], to: Vec<u8>) -> Result<(), PlanError> {
        let attributes = match self.place.stat(source).await {
            Ok(Some(attributes)) => attributes,
            Ok(None) => return self.leave_out(source, "there is no such file"),
            Err(error) if error.is_lost() => return Err(at(source)(error)),
            Err(error) => return self.leave_out(source, &error.to_string()),
        };
        let item = Item {
            from: source.to_vec(),
            to,
            attributes,
        };
        match attributes.kind {
            Some(FileKind::Folder) if !self.recursive => {
                self.leave_out(source, "is a directory: use -r to copy it")
            }
            Some(FileKind::Folder) => {
                let real = self.place.real_path(source).await.map_err(at(source))?;
                self.walk(item, vec![real]).await
            }
            _ => self.add_file(item),
        }
    }

    /// Adds a directory and all that is in it; `above` are the directories it is in,
    /// by their real names, as far as links led to them.
    async fn walk(&mut self, folder: Item, above: Vec<Vec<u8>>) -> Result<(), PlanError> {
        let mut left = vec![(folder, above, 0)];
        while let Some((folder, above, depth)) = left.pop() {
            let entries = match self.place.list(&folder.from, self.room).await {
                Ok(entries) => entries,
                Err(FilesError::TooMany) => return Err(too_much(&folder.from)),
                Err(error) if error.is_lost() => return Err(at(&folder.from)(error)),
                Err(error) => {
                    self.leave_out(&folder.from, &error.to_string())?;
                    continue;
                }
            };
            let (from, to) = (folder.from.clone(), folder.to.clone());
            self.plan.folders.push(folder);
            let mut names: Vec<&[u8]> = entries.iter().map(|entry| &*entry.name).collect();
            names.sort_unstable();
            let twice = names.windows(2).any(|pair| pair.first() == pair.last());
            if twice {
                self.leave_out(&from, "has the same name twice")?;
                continue;
            }
            for entry in entries {
                // The server could say anything; this must stay in the directory.
                self.take_room(&entry.name, &from, &to)?;
                if !is_plain(&entry.name) {
                    self.leave_out(&from, "has a name in it that is not valid")?;
                    continue;
                }
                if entry.name.len() > LONGEST_NAME {
                    self.leave_out(&from, "has a name in it that is too long")?;
                    continue;
                }
                if is_part(&entry.name) {
                    continue;
                }
                let mut item = Item {
                    from: join(&from, &entry.name),
                    to: join(&to, &entry.name),
                    attributes: entry.attributes,
                };
                if item.from.len().max(item.to.len()) > LONGEST_PATH {
                    self.leave_out(&from, "has a path in it that is too long")?;
                    continue;
                }
                let mut above = above.clone();
                if item.attributes.kind == Some(FileKind::Link) {
                    match self.follow(&item.from, &from, &mut above).await {
                        Ok(attributes) => item.attributes = attributes,
                        Err(Unfollowed::Lost(error)) => return Err(at(&item.from)(error)),
                        Err(Unfollowed::Because(reason)) => {
                            self.leave_out(&item.from, &reason)?;
                            continue;
                        }
                    }
                }
                match item.attributes.kind {
                    Some(FileKind::Folder) if depth < DEEPEST => {
                        left.push((item, above, depth + 1));
                    }
                    Some(FileKind::Folder) => self.leave_out(&item.from, "is too deep")?,
                    _ => self.add_file(item)?,
                }
            }
        }
        Ok(())
    }

    /// Follows a link. A directory that it leads to is added to those above.
    async fn follow(
        &self,
        link: &[u8],
        folder: &[u8],
        above: &mut Vec<Vec<u8>>,
    ) -> Result<FileAttributes, Unfollowed> {
        let Some(attributes) = self.place.stat(link).await? else {
            return Err(Unfollowed::Because("the link leads nowhere".to_owned()));
        };
        if attributes.kind == Some(FileKind::Folder) {
            let real = self.place.real_path(link).await?;
            let within = self.place.real_path(folder).await?;
            if above
                .iter()
                .chain([&within])
                .any(|above| is_in(above, &real))
            {
                let reason = "the link leads to a directory that it is in";
                return Err(Unfollowed::Because(reason.to_owned()));
            }
            above.push(real);
        }
        Ok(attributes)
    }

    fn add_file(&mut self, item: Item) -> Result<(), PlanError> {
        match item.attributes.kind {
            Some(FileKind::File) | None => self.plan.files.push(item),
            _ => self.leave_out(&item.from, "is not a file that can be copied")?,
        }
        Ok(())
    }

    /// Counts an entry of the directory at `from`, which goes to `to`.
    fn take_room(&mut self, name: &[u8], from: &[u8], to: &[u8]) -> Result<(), PlanError> {
        let bytes = from.len() + to.len() + 2 * name.len() + ITEM_BYTES;
        let left =
            |room: usize, taken: usize| room.checked_sub(taken).ok_or_else(|| too_much(from));
        self.room = ListingLimit {
            entries: left(self.room.entries, 1)?,
            bytes: left(self.room.bytes, bytes)?,
        };
        Ok(())
    }

    fn leave_out(&mut self, path: &[u8], reason: &str) -> Result<(), PlanError> {
        if self.plan.left_out.len() < MAX_LEFT_OUT {
            let told = format!("{}: {reason}", shown(path));
            self.plan.left_out.push(told);
        } else {
            self.untold += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        if self.untold > 0 {
            let told = format!("{} more were left out", self.untold);
            self.plan.left_out.push(told);
        }
        self.plan
    }
}

/// Why a link is not followed.
enum Unfollowed {
    Lost(FilesError),
    Because(String),
}

impl From<FilesError> for Unfollowed {
    fn from(error: FilesError) -> Self {
        if error.is_lost() {
            Self::Lost(error)
        } else {
            Self::Because(error.to_string())
        }
    }
}

fn too_much(path: &[u8]) -> PlanError {
    let path = shown(path);
    PlanError::TooMuch { path }
}

fn at(path: &[u8]) -> impl FnOnce(FilesError) -> PlanError {
    let path = shown(path);
    move |error| PlanError::Files { path, error }
}

/// Whether `path` is `folder` or in it; both are real paths.
fn is_in(path: &[u8], folder: &[u8]) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || folder.ends_with(b"/"),
        None => false,
    }
}

/// Whether a name can be that of an entry in a directory.
fn is_plain(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// The last part of a path, if that is a name.
fn last_name(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|byte| *byte != b'/')?;
    let path = path.get(..=end)?;
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    is_plain(name).then_some(name)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder
        .strip_prefix(b".")
        .filter(|rest| rest.is_empty())
        .unwrap_or(folder)
        .to_vec();
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

#[cfg(test)]
mod tests {
    use alknet_ssh::client::DirectoryEntry;

    use super::*;

    /// Directories and what they list; everything else is a file.
    struct Listed(&'static [(&'static str, &'static [&'static str])]);

    impl Listed {
        fn names(&self, path: &[u8]) -> Option<&[&str]> {
            let found = self.0.iter().find(|(name, _)| name.as_bytes() == path);
            found.map(|(_, names)| *names)
        }
    }

    impl FileSystem for Listed {
        async fn stat(&self, path: &[u8]) -> Result<Option<FileAttributes>, FilesError> {
            let kind = match self.names(path) {
                Some(_) => FileKind::Folder,
                None => FileKind::File,
            };
            Ok(Some(FileAttributes {
                kind: Some(kind),
                ..FileAttributes::default()
            }))
        }

        async fn list(
            &self,
            path: &[u8],
            most: ListingLimit,
        ) -> Result<Vec<DirectoryEntry>, FilesError> {
            if self.names(b"/a") == Some(&["endless"]) {
                return endless(path, most);
            }
            let mut entries = Vec::new();
            for name in self.names(path).unwrap() {
                let inner = join(path, name.as_bytes());
                entries.push(DirectoryEntry {
                    name: name.as_bytes().to_vec(),
                    attributes: self.stat(&inner).await?.unwrap(),
                });
            }
            Ok(entries)
        }

        async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
            Ok(path.to_vec())
        }

        async fn make_directory(&self, _: &[u8], _: Option<u32>) -> Result<(), FilesError> {
            unreachable!()
        }

        async fn preserve(&self, _: &[u8], _: &FileAttributes) -> Result<(), FilesError> {
            unreachable!()
        }
    }

    /// As many directories as may be, each of which holds as many.
    fn endless(path: &[u8], most: ListingLimit) -> Result<Vec<DirectoryEntry>, FilesError> {
        let entry = |number: usize| DirectoryEntry {
            name: number.to_string().into_bytes(),
            attributes: FileAttributes {
                kind: Some(FileKind::Folder),
                ..FileAttributes::default()
            },
        };
        match path {
            b"/a" => Ok((0..most.entries / 1000).map(entry).collect()),
            _ => Err(FilesError::TooMany),
        }
    }

    /// What a recursive copy of `/a` to the directory `/to` would do.
    async fn planned(from: Listed) -> (Vec<String>, Vec<String>, Vec<String>) {
        let ends = Ends {
            to_node: false,
            sources: vec![b"/a".to_vec()],
            target: b"/to".to_vec(),
        };
        let to = Listed(&[("/to", &[])]);
        let plan = plan(&from, &to, &ends, true).await.unwrap();
        let targets = |items: &[Item]| items.iter().map(|item| shown(&item.to)).collect();
        (targets(&plan.folders), targets(&plan.files), plan.left_out)
    }

    #[tokio::test]
    async fn a_server_cannot_lead_out_of_the_target() {
        let from = Listed(&[
            (
                "/a",
                &["../x", "/etc/y", "..", "", "b", "ok", ".c.alknet-part"],
            ),
            ("/a/b", &["."]),
        ]);
        let (folders, files, left_out) = planned(from).await;
        assert_eq!(folders, ["/to/a", "/to/a/b"]);
        assert_eq!(files, ["/to/a/ok"]);
        assert_eq!(left_out.len(), 5, "{left_out:?}");
        let twice = Listed(&[("/a", &["b", "b"])]);
        let (folders, files, left_out) = planned(twice).await;
        assert_eq!((folders.len(), files.len()), (1, 0));
        assert!(left_out[0].contains("twice"), "{left_out:?}");
    }

    #[tokio::test]
    async fn a_listing_without_end_is_given_up() {
        let ends = Ends {
            to_node: false,
            sources: vec![b"/a".to_vec()],
            target: b"/to".to_vec(),
        };
        let to = Listed(&[("/to", &[])]);
        let from = Listed(&[("/a", &["endless"])]);
        let error = plan(&from, &to, &ends, true).await.unwrap_err();
        assert!(matches!(error, PlanError::TooMuch { .. }), "{error}");
        assert!(
            error.to_string().contains("more than 1000000 files"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn names_and_paths_that_no_system_takes_are_left_out() {
        let long: &'static str = "x".repeat(LONGEST_NAME + 1).leak();
        let names: &'static [&'static str] = vec![long, "ok"].leak();
        let listed: &'static [_] = vec![("/a", names)].leak();
        let (_, files, left_out) = planned(Listed(listed)).await;
        assert_eq!(files, ["/to/a/ok"]);
        assert!(left_out[0].contains("too long"), "{left_out:?}");
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain(b"...") && is_plain(b"a b\xff"));
    }

    #[test]
    fn the_last_name_of_a_path() {
        assert_eq!(last_name(b"/a/b//"), Some(&b"b"[..]));
        assert_eq!(last_name(b"b"), Some(&b"b"[..]));
        for none in [&b"/"[..], b".", b"a/..", b"./"] {
            assert_eq!(last_name(none), None);
        }
    }

    #[test]
    fn a_folder_is_in_itself_and_in_those_above() {
        assert!(is_in(b"/a/b", b"/a") && is_in(b"/a", b"/a") && is_in(b"/a", b"/"));
        assert!(!is_in(b"/ab", b"/a") && !is_in(b"/a", b"/a/b"));
    }
}
