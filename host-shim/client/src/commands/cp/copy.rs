//! The copy of single files: in pieces, resumed where it stopped, checked by
//! SHA-256.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use alknet_ssh::client::{FileAttributes, FileKind, Files, FilesError, OpenHow, RemoteFile};
use ring::digest::{Context, SHA256, digest};
use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::file_system::{
    FileSystem as _, Local, PLAIN, apply_attributes, attributes, io_error, local_path,
};
use super::part::PART;
use super::path::shown;
use super::plan::Item;
use super::progress::{Counted, Progress};
use crate::console::terminal::Terminal;

/// Copies single files over one connection.
pub(super) struct Copier<'a> {
    files: &'a Files,
    to_node: bool,
    preserve: bool,
    /// A permit for each piece that may be under way, of all files together.
    pieces: Arc<Semaphore>,
    progress: &'a Progress,
    terminal: Terminal,
}

/// Why one file was not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("the connection is lost")]
    Lost,
    #[error("{path}: {error}")]
    Files { path: String, error: FilesError },
    #[error("{path} is a directory, and a file cannot take its place")]
    IsFolder { path: String },
    #[error("{path} is not a file")]
    NoFile { path: String },
    #[error(
        "{path}: has no size, and more than {} MiB in it; nothing was kept of it",
        MOST_WITHOUT_SIZE / (1024 * 1024)
    )]
    Endless { path: String },
    #[error("{path} is being copied by another process")]
    Busy { path: String },
    #[error(
        "{path}: the copy has another SHA-256 than the source: it was changed meanwhile, or damaged. The copy was removed; try again"
    )]
    Differs { path: String },
}

/// The most pieces under way: with 255 KiB each, 8 MiB of data.
const PIECES: usize = 32;
/// The bytes that are hashed or read from a local file at a time.
const CHUNK: usize = 255 * 1024;
/// The longest name of a file that most systems take.
const LONGEST_NAME: usize = 255;
/// The most bytes that are copied of a file whose size the server does not
/// know, such as those that the kernel makes up (proc(5)).
const MOST_WITHOUT_SIZE: u64 = 1 << 30;
const USUAL: u32 = 0o666;
/// The permissions that a partial file needs, so that a later copy can read it
/// and go on.
const OURS: u32 = 0o600;

impl<'a> Copier<'a> {
    pub(super) fn new(
        files: &'a Files,
        to_node: bool,
        preserve: bool,
        progress: &'a Progress,
        terminal: Terminal,
    ) -> Self {
        Self {
            files,
            to_node,
            preserve,
            pieces: Arc::new(Semaphore::new(PIECES)),
            progress,
            terminal,
        }
    }

    pub(super) async fn copy(&self, item: &Item) -> Result<(), CopyError> {
        let counted = self.progress.file();
        if self.to_node {
            self.upload(item, &counted).await?;
        } else {
            self.download(item, &counted).await?;
        }
        counted.kept();
        Ok(())
    }

    async fn upload(&self, item: &Item, counted: &Counted<'_>) -> Result<(), CopyError> {
        let at_source = at(&item.from);
        let at_target = at(&item.to);
        let file = open_source(&item.from).map_err(|error| at_source(io_error(&error)))?;
        let like = file
            .metadata()
            .map_err(|error| at_source(io_error(&error)))?;
        let like = attributes(&like);
        if like.kind != Some(FileKind::File) {
            let path = shown(&item.from);
            return Err(CopyError::NoFile { path });
        }
        let before = match self.files.stat(&item.to).await {
            Ok(before) => Some(before),
            Err(error) if error.status().is_some() => None,
            Err(error) => return Err(at_target(error)),
        };
        check_target(before, item)?;
        let part = part_of(&item.to);
        let permissions = permissions(before, &like) | OURS;
        let remote = self.files.open(&part, OpenHow::Write { permissions }).await;
        let remote = remote.map_err(&at_target)?;
        let file = Arc::new(file);
        let made = remote.stat().await.map_err(&at_target)?;
        let there = made.size.unwrap_or(0);
        let common = there.min(like.size.unwrap_or(0));
        let (start, mut hash) = self.in_common(&file, &remote, common, item).await?;
        if there > start {
            remote.truncate(start).await.map_err(&at_target)?;
        }
        self.found(start, item, counted);
        let length = usize::try_from(self.files.limits().write).unwrap_or(CHUNK);
        let mut under_way = VecDeque::new();
        let mut offset = start;
        loop {
            // Who waits for leave must hold none, or all would wait for each other.
            let piece = loop {
                match Arc::clone(&self.pieces).try_acquire_owned() {
                    Ok(piece) => break Some(piece),
                    Err(_) if under_way.is_empty() => {
                        break Arc::clone(&self.pieces).acquire_owned().await.ok();
                    }
                    Err(_) => written(&mut under_way, counted).await.map_err(&at_target)?,
                }
            };
            let (more, data) = read_on(&file, offset, length, hash)
                .await
                .map_err(|error| at_source(io_error(&error)))?;
            hash = more;
            if data.is_empty() {
                break;
            }
            let sent = remote.write(offset, &data).await.map_err(&at_target)?;
            offset += data.len() as u64;
            under_way.push_back((data.len() as u64, sent, piece));
            while under_way.len() >= PIECES / 2 {
                written(&mut under_way, counted).await.map_err(&at_target)?;
            }
        }
        while !under_way.is_empty() {
            written(&mut under_way, counted).await.map_err(&at_target)?;
        }
        if self.files.has_checksums() {
            let there = remote.sha256(None).await.map_err(&at_target)?;
            if there != hash.finish().as_ref() {
                let _ = self.files.remove(&part).await;
                return Err(CopyError::Differs {
                    path: shown(&item.from),
                });
            }
        }
        if let Some(permissions) = self.exact_permissions(before, &like, &made) {
            let set = remote.set_permissions(permissions).await;
            set.map_err(&at_target)?;
        }
        if let Some(times) = like.times.filter(|_| self.preserve) {
            remote.set_times(times).await.map_err(&at_target)?;
        }
        remote.close().await.map_err(&at_target)?;
        let renamed = self.files.rename(&part, &item.to).await;
        renamed.map_err(&at_target)
    }

    async fn download(&self, item: &Item, counted: &Counted<'_>) -> Result<(), CopyError> {
        let at_source = at(&item.from);
        let at_target = at(&item.to);
        let ours = |error: io::Error| at_target(io_error(&error));
        let remote = self.files.open(&item.from, OpenHow::Read).await;
        let remote = remote.map_err(&at_source)?;
        let like = remote.stat().await.map_err(&at_source)?;
        if like.kind.is_some_and(|kind| kind != FileKind::File) {
            let path = shown(&item.from);
            return Err(CopyError::NoFile { path });
        }
        let before = Local.stat(&item.to).await.map_err(&at_target)?;
        check_target(before, item)?;
        let part = part_of(&item.to);
        let file = open_part(&part, permissions(before, &like) | OURS).map_err(ours)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let path = shown(&item.to);
            return Err(CopyError::Busy { path });
        }
        let file = Arc::new(file);
        let made = attributes(&file.metadata().map_err(ours)?);
        let present = made.size.unwrap_or(0);
        let common = present.min(like.size.unwrap_or(0));
        let (start, mut hash) = self.in_common(&file, &remote, common, item).await?;
        if present > start {
            file.set_len(start).map_err(ours)?;
        }
        self.found(start, item, counted);
        let end = end_of(like.size);
        let mut reading = Reading {
            remote: &remote,
            pieces: &self.pieces,
            length: self.files.limits().read,
            next: start,
            end,
            under_way: VecDeque::new(),
        };
        let mut offset = start;
        while let Some(data) = reading.next().await.map_err(&at_source)? {
            let length = data.len() as u64;
            hash = write_on(&file, offset, data, hash).await.map_err(ours)?;
            offset += length;
            counted.add(length);
        }
        if like.size.unwrap_or(0) == 0 && offset >= end {
            let _ = std::fs::remove_file(local_path(&part));
            let path = shown(&item.from);
            return Err(CopyError::Endless { path });
        }
        if self.files.has_checksums() {
            // Of what was copied: the file may have grown meanwhile.
            let copied = Some(offset).filter(|offset| *offset == end);
            let there = remote.sha256(copied).await.map_err(&at_source)?;
            if there != hash.finish().as_ref() {
                let _ = std::fs::remove_file(local_path(&part));
                return Err(CopyError::Differs {
                    path: shown(&item.from),
                });
            }
        }
        let exact = self.exact_permissions(before, &like, &made);
        let kept = FileAttributes {
            permissions: exact,
            times: like.times.filter(|_| self.preserve),
            ..like
        };
        apply_attributes(&file, &kept).map_err(ours)?;
        std::fs::rename(local_path(&part), local_path(&item.to)).map_err(ours)?;
        let _ = remote.close().await;
        Ok(())
    }

    /// The number of bytes at the start of both files that are known to be the
    /// same, either `length` or 0, and their hash.
    async fn in_common(
        &self,
        file: &Arc<File>,
        remote: &RemoteFile,
        length: u64,
        item: &Item,
    ) -> Result<(u64, Context), CopyError> {
        if length == 0 || !self.files.has_checksums() {
            return Ok((0, Context::new(&SHA256)));
        }
        let ours = async {
            let hash = hash_of(file, length).await;
            hash.map_err(|error| at(&item.from)(io_error(&error)))
        };
        let theirs = async {
            let hash = remote.sha256(Some(length)).await;
            hash.map_err(at(&item.to))
        };
        let (ours, theirs) = tokio::try_join!(ours, theirs)?;
        Ok(if ours.clone().finish().as_ref() == theirs {
            (length, ours)
        } else {
            (0, Context::new(&SHA256))
        })
    }

    fn found(&self, bytes: u64, item: &Item, counted: &Counted<'_>) {
        counted.found(bytes);
        if bytes > 0 {
            let path = shown(&item.to);
            self.progress.aside(|| {
                self.terminal.detail(&format_args!(
                    "{path}: goes on after {}",
                    alknet_text::bytes(bytes)
                ));
            });
        }
    }

    /// The permissions to set in the end, if the file was not `made` with them.
    fn exact_permissions(
        &self,
        before: Option<FileAttributes>,
        like: &FileAttributes,
        made: &FileAttributes,
    ) -> Option<u32> {
        let exact = if self.preserve {
            like.permissions?
        } else if let Some(before) = before {
            before.permissions?
        } else {
            // The umask has taken some away.
            made.permissions? & like.permissions?
        };
        let exact = exact & PLAIN;
        (made.permissions.map(|made| made & PLAIN) != Some(exact)).then_some(exact)
    }
}

/// A file at the node that is read ahead.
struct Reading<'a> {
    remote: &'a RemoteFile,
    pieces: &'a Arc<Semaphore>,
    length: u32,
    /// The offset of the next piece to ask for.
    next: u64,
    /// The offset from which nothing is asked for.
    end: u64,
    under_way: VecDeque<Piece>,
}

struct Piece {
    offset: u64,
    length: u32,
    data: alknet_ssh::client::Pending<bytes::Bytes>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Reading<'_> {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, FilesError> {
        while self.under_way.len() < PIECES / 2 && self.next < self.end {
            // The first must have one; more only if nobody else needs them.
            let permit = if self.under_way.is_empty() {
                Arc::clone(self.pieces).acquire_owned().await.ok()
            } else {
                match Arc::clone(self.pieces).try_acquire_owned() {
                    Ok(permit) => Some(permit),
                    Err(_) => break,
                }
            };
            let left = u32::try_from(self.end - self.next).unwrap_or(u32::MAX);
            let (offset, length) = (self.next, self.length.min(left));
            self.next += u64::from(length);
            let piece = self.ask(offset, length, permit).await?;
            self.under_way.push_back(piece);
        }
        let Some(first) = self.under_way.pop_front() else {
            return Ok(None);
        };
        let data = first.data.await?;
        let got = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if got > first.length {
            return Err(FilesError::Protocol("more than was asked for"));
        }
        if data.is_empty() {
            return Ok(None);
        }
        if got < first.length {
            // The rest may be there or not.
            let offset = first.offset + u64::from(got);
            let rest = self.ask(offset, first.length - got, first._permit).await?;
            self.under_way.push_front(rest);
        }
        Ok(Some(data))
    }

    async fn ask(
        &self,
        offset: u64,
        length: u32,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Piece, FilesError> {
        Ok(Piece {
            offset,
            length,
            data: self.remote.read(offset, length).await?,
            _permit: permit,
        })
    }
}

/// Waits for the first of the pieces under way to be written.
async fn written(
    under_way: &mut VecDeque<(
        u64,
        impl Future<Output = Result<(), FilesError>> + Unpin,
        Option<OwnedSemaphorePermit>,
    )>,
    counted: &Counted<'_>,
) -> Result<(), FilesError> {
    if let Some((length, sent, _piece)) = under_way.pop_front() {
        sent.await?;
        counted.add(length);
    }
    Ok(())
}

fn at(path: &[u8]) -> impl Fn(FilesError) -> CopyError {
    let path = shown(path);
    move |error| {
        if error.is_lost() {
            return CopyError::Lost;
        }
        let path = path.clone();
        CopyError::Files { path, error }
    }
}

fn check_target(before: Option<FileAttributes>, item: &Item) -> Result<(), CopyError> {
    let path = || shown(&item.to);
    match before.and_then(|before| before.kind) {
        Some(FileKind::Folder) => Err(CopyError::IsFolder { path: path() }),
        Some(FileKind::Other) => Err(CopyError::NoFile { path: path() }),
        _ => Ok(()),
    }
}

/// The offset at which a copy ends, whatever else the server sends: what was
/// appended since is not part of it.
fn end_of(size: Option<u64>) -> u64 {
    match size {
        Some(size) if size > 0 => size,
        _ => MOST_WITHOUT_SIZE,
    }
}

/// The permissions that a copy is made with: those of the file that it
/// replaces, or of its source.
fn permissions(before: Option<FileAttributes>, like: &FileAttributes) -> u32 {
    let before = before.and_then(|before| before.permissions);
    before.or(like.permissions).unwrap_or(USUAL) & PLAIN
}

fn open_source(path: &[u8]) -> io::Result<File> {
    // A named pipe would wait for its other end.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(local_path(path))
}

/// Opens the partial file, made if it does not exist.
fn open_part(path: &[u8], permissions: u32) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(permissions)
        .custom_flags(flags)
        .open(local_path(path))
}

/// The path of the partial file: in the same directory, so that it can be
/// renamed.
fn part_of(path: &[u8]) -> Vec<u8> {
    let start = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at(start);
    let mut part = folder.to_vec();
    part.push(b'.');
    if name.len() + 1 + PART.len() <= LONGEST_NAME {
        part.extend_from_slice(name);
    } else {
        let hash = digest(&SHA256, name);
        part.extend(
            hash.as_ref()
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes()),
        );
    }
    part.extend_from_slice(PART);
    part
}

/// Reads a piece and adds it to the hash.
async fn read_on(
    file: &Arc<File>,
    offset: u64,
    length: usize,
    mut hash: Context,
) -> io::Result<(Context, Vec<u8>)> {
    let file = Arc::clone(file);
    let reading = spawn_blocking(move || {
        let data = read_piece(&file, offset, length)?;
        hash.update(&data);
        Ok((hash, data))
    });
    reading.await.map_err(io::Error::other)?
}

/// Writes a piece and adds it to the hash.
async fn write_on(
    file: &Arc<File>,
    offset: u64,
    data: bytes::Bytes,
    mut hash: Context,
) -> io::Result<Context> {
    let file = Arc::clone(file);
    let writing = spawn_blocking(move || {
        file.write_all_at(&data, offset)?;
        hash.update(&data);
        Ok(hash)
    });
    writing.await.map_err(io::Error::other)?
}

/// The hash of the first `length` bytes of a file.
async fn hash_of(file: &Arc<File>, length: u64) -> io::Result<Context> {
    let mut hash = Context::new(&SHA256);
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
        let (more, data) = read_on(file, offset, wanted, hash).await?;
        hash = more;
        if data.is_empty() {
            break;
        }
        offset += data.len() as u64;
    }
    Ok(hash)
}

/// Reads `length` bytes, or fewer at the end of the file.
fn read_piece(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::super::part::is_part;
    use super::*;

    #[test]
    fn the_name_for_the_time_being_is_beside_the_file() {
        assert_eq!(part_of(b"/a/b"), b"/a/.b.alknet-part");
        assert_eq!(part_of(b"b"), b".b.alknet-part");
        let long = [&b"dir/"[..], &[b'x'; 255]].concat();
        let part = part_of(&long);
        assert!(part.len() < 4 + LONGEST_NAME && is_part(&part[4..]));
        assert!(!is_part(b"b.alknet-part") && !is_part(b".b"));
    }

    #[test]
    fn a_copy_has_the_permissions_of_what_it_replaces() {
        let with = |permissions| FileAttributes {
            permissions: Some(permissions),
            ..FileAttributes::default()
        };
        assert_eq!(permissions(Some(with(0o600)), &with(0o644)), 0o600);
        assert_eq!(permissions(None, &with(0o4755)), 0o755);
        assert_eq!(permissions(None, &FileAttributes::default()), USUAL);
    }
}
