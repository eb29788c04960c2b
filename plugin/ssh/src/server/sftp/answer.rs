//! The SFTP server: one request after the other, done on the file tree and
//! answered.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{self, Context};
use rustix::fd::BorrowedFd;
use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, fstatvfs, fsync, ftruncate,
    futimens, statat,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::accounts::Accounts;
use super::error::SftpError;
use super::handles::{Handle, Handles};
use super::longname::longname;
use super::settings::Settings;
use super::tree::{Tree, join};
use crate::sftp_protocol::attributes::{Attributes, last_failure};
use crate::sftp_protocol::frames::{Frames, LONGEST_MESSAGE};
use crate::sftp_protocol::reply::{Entry, Failed, Replies};
use crate::sftp_protocol::request::{
    EXTENSIONS, Message, OPEN_APPEND, OPEN_CREATE, OPEN_NEW, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE,
    Request, Unusable, parse,
};
use crate::sftp_protocol::wire::Put;

/// The version of the protocol that everybody speaks.
const VERSION: u32 = 3;

/// The most bytes of data in one message, the same as with OpenSSH's server.
const MOST_DATA: usize = LONGEST_MESSAGE - 1024;

/// Answers are collected until there are this many bytes of them.
const ENOUGH: usize = 512 * 1024;

/// The hash algorithm there is, and the shortest parts that are hashed on
/// their own (draft-ietf-secsh-filexfer-extensions-00 section 3).
const SHA256: &str = "sha256";
const LEAST_BLOCK: u32 = 256;

/// The most names in one answer about a directory.
const ENTRIES: usize = 100;

/// Answers requests, one after the other and in their order. Blocks for as
/// long as the file system takes.
#[derive(Debug)]
pub(super) struct Server {
    tree: Tree,
    handles: Handles,
    /// The most handles at a time.
    most_handles: u32,
    read_only: bool,
    account: Vec<u8>,
    accounts: Accounts,
    /// Whether the client has said which version it speaks.
    introduced: bool,
}

impl Server {
    pub(super) fn new(settings: &Settings) -> Result<Self, Errno> {
        let root = settings.root.as_bytes();
        Ok(Self {
            tree: Tree::open(root, &settings.home, &settings.private)?,
            handles: Handles::new(settings.max_open_files as usize),
            most_handles: settings.max_open_files,
            read_only: settings.read_only,
            account: settings.account.clone(),
            accounts: Accounts::of_this_machine(),
            introduced: false,
        })
    }

    /// Answers what has come in completely, until there is enough to send. Work
    /// of any length is given up once the client `is_gone`.
    pub(super) fn answer(
        &mut self,
        frames: &mut Frames,
        replies: &mut Replies,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<(), SftpError> {
        while replies.len() < ENOUGH {
            let Some(message) = frames.next()? else {
                break;
            };
            match parse(&message).map_err(|_| SftpError::NoMessage)? {
                Message::Init { version } => self.introduce(version, replies)?,
                Message::Request { .. } if !self.introduced => return Err(SftpError::NoInit),
                Message::Request { id, request } => {
                    let outcome = match request {
                        Ok(request) => self.serve(id, &request, replies, is_gone),
                        Err(Unusable::Malformed) => Err(Failed::BadMessage),
                        Err(Unusable::Unknown) => Err(Failed::Unsupported),
                    };
                    if let Err(failed) = outcome {
                        replies.failed(id, failed);
                    }
                }
            }
        }
        Ok(())
    }

    fn introduce(&mut self, version: u32, replies: &mut Replies) -> Result<(), SftpError> {
        if version < VERSION {
            return Err(SftpError::OldVersion(version));
        }
        self.introduced = true;
        let offered = EXTENSIONS
            .iter()
            .filter(|(_, _, writes)| !(self.read_only && *writes))
            .map(|(name, version, _)| (*name, *version));
        replies.version(VERSION, offered);
        Ok(())
    }

    /// Does what is asked, and answers unless it fails.
    fn serve(
        &mut self,
        id: u32,
        request: &Request<'_>,
        replies: &mut Replies,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<(), Failed> {
        if self.read_only && request.writes() {
            return Err(Failed::ReadOnly);
        }
        match request {
            Request::Open {
                path,
                flags,
                attributes,
            } => {
                let mode = attributes.mode().unwrap_or(Mode::from_raw_mode(0o666));
                let tree = &self.tree;
                let open = || Ok(Handle::File(open(tree, path, *flags, mode)?));
                replies.handle(id, &self.handles.add(open)?);
            }
            Request::OpenFolder { path } => {
                let tree = &self.tree;
                let open = || {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    let directory = tree.open_file(path, flags, Mode::empty())?;
                    Ok(Handle::Directory(Dir::new(directory)?))
                };
                replies.handle(id, &self.handles.add(open)?);
            }
            Request::Read {
                handle,
                offset,
                length,
            } => {
                let file = self.handles.file(handle)?;
                let length = (*length as usize).min(MOST_DATA);
                replies.data(id, length, |into| match read(file, into, *offset)? {
                    0 if !into.is_empty() => Err(Failed::EndOfFile),
                    taken => Ok(taken),
                })?;
            }
            Request::ReadFolder { handle } => {
                let confined = self.tree.is_confined();
                let accounts = (!confined).then_some(&self.accounts);
                let entries = entries(self.handles.directory(handle)?, accounts)?;
                replies.entries(id, &entries);
            }
            Request::Stat { path, follow } => {
                replies.attributes(id, &self.tree.stat(path, *follow)?);
            }
            Request::StatHandle { handle } => {
                replies.attributes(id, &fstat(self.handles.any(handle)?)?);
            }
            Request::RealPath { path } => replies.name(id, &self.tree.real_path(path)?),
            Request::ExpandPath { path } => replies.name(id, &self.expand(path)?),
            Request::ReadLink { path } => replies.name(id, &self.tree.read_link(path)?),
            Request::Home { user } => {
                let home = match user.is_empty() {
                    true => self.tree.home(),
                    false => self.home_of(user)?,
                };
                replies.name(id, home);
            }
            Request::Names { users, groups } => {
                let named = |ids: &[u8], name: &dyn Fn(u32) -> Option<Vec<u8>>| {
                    let mut names = Vec::new();
                    for id in ids.as_chunks().0 {
                        let name = name(u32::from_be_bytes(*id));
                        names.put_string(&name.unwrap_or_default());
                    }
                    names
                };
                // Those of the machine say nothing about a tree of its own.
                let known = !self.tree.is_confined();
                let accounts = &self.accounts;
                let user = |id| accounts.user(id).filter(|_| known).map(<[u8]>::to_vec);
                let group = |id| accounts.group(id).filter(|_| known).map(<[u8]>::to_vec);
                replies.names(id, &named(users, &user), &named(groups, &group));
            }
            Request::FileSystem { path } => {
                replies.file_system(id, &self.tree.file_system(path)?);
            }
            Request::FileSystemOfHandle { handle } => {
                replies.file_system(id, &fstatvfs(self.handles.any(handle)?)?);
            }
            Request::CheckFile {
                handle,
                algorithms,
                offset,
                length,
                block,
            } => {
                if !algorithms
                    .split(|byte| *byte == b',')
                    .any(|name| name == SHA256.as_bytes())
                {
                    return Err(Failed::Unsupported);
                }
                let part = (*offset, *length);
                let hashes = self.hash(handle, part, *block, is_gone)?;
                replies.hashes(id, SHA256, &hashes);
            }
            Request::Limits => {
                let data = MOST_DATA as u64;
                let handles = self.most_handles.into();
                replies.numbers(id, &[LONGEST_MESSAGE as u64, data, data, handles]);
            }
            _ => {
                self.change(request, is_gone)?;
                replies.done(id);
            }
        }
        Ok(())
    }

    /// Carries out a request whose answer is only that it is done.
    fn change(&mut self, request: &Request<'_>, is_gone: &dyn Fn() -> bool) -> Result<(), Failed> {
        match request {
            Request::Close { handle } => return self.handles.close(handle),
            Request::Write {
                handle,
                offset,
                data,
            } => write(self.handles.file(handle)?, data, *offset)?,
            Request::SetStat {
                path,
                attributes,
                follow,
            } => self.tree.set_attributes(path, attributes, *follow)?,
            Request::SetStatHandle { handle, attributes } => {
                let file = self.handles.any(handle)?;
                self.tree.check_attributes(file, attributes)?;
                set_attributes(file, attributes)?;
            }
            Request::MakeFolder { path, attributes } => {
                let mode = attributes.mode().unwrap_or(Mode::from_raw_mode(0o777));
                self.tree.make_directory(path, mode)?;
            }
            Request::RemoveFolder { path } => self.tree.remove_folder(path)?,
            Request::Remove { path } => self.tree.remove(path)?,
            Request::Rename { from, to, replace } => self.tree.rename(from, to, *replace)?,
            Request::Symlink { target, link } => self.tree.symlink(target, link)?,
            Request::HardLink { from, to } => self.tree.hard_link(from, to)?,
            Request::Sync { handle } => fsync(self.handles.file(handle)?)?,
            Request::CopyData {
                from,
                from_offset,
                length,
                to,
                to_offset,
            } => {
                let places = (*from_offset, *to_offset);
                self.copy(from, to, places, *length, is_gone)?;
            }
            _ => return Err(Failed::Unsupported),
        }
        Ok(())
    }

    /// Expands `~` and `~user` as a shell does.
    fn expand(&self, path: &[u8]) -> Result<Vec<u8>, Failed> {
        let path = match path.strip_prefix(b"~") {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b'/');
                let (user, rest) = rest.split_at(end.unwrap_or(rest.len()));
                let home = match user.is_empty() {
                    true => self.tree.home(),
                    false => self.home_of(user)?,
                };
                let start = rest.iter().position(|byte| *byte != b'/');
                match start.and_then(|start| rest.get(start..)) {
                    Some(rest) => join(home, rest),
                    None => home.to_vec(),
                }
            }
            None => path.to_vec(),
        };
        Ok(self.tree.real_path(&path)?)
    }

    /// The home directory of a user. Below a root of its own there is that of
    /// the client alone.
    fn home_of(&self, user: &[u8]) -> Result<&[u8], Failed> {
        if user == self.account {
            return Ok(self.tree.home());
        }
        let known = self.accounts.home(user);
        let known = known.filter(|_| !self.tree.is_confined());
        known.ok_or_else(|| Errno::NOENT.into())
    }

    /// The hashes of parts of an open file.
    fn hash(
        &self,
        handle: &[u8],
        (offset, length): (u64, u64),
        block: u32,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, Failed> {
        if (1..LEAST_BLOCK).contains(&block) {
            return Err(Failed::BadMessage);
        }
        let file = self.handles.file(handle)?;
        let end = match length {
            0 => u64::MAX,
            length => offset.saturating_add(length),
        };
        let block = match block {
            0 => u64::MAX,
            block => block.into(),
        };
        let mut hashes = Vec::new();
        let mut buffer = vec![0; MOST_DATA];
        let mut at = offset;
        loop {
            let (start, mut context) = (at, Context::new(&digest::SHA256));
            let until = start.saturating_add(block).min(end);
            while at < until {
                go_on_unless(is_gone)?;
                let left = usize::try_from(until - at).unwrap_or(usize::MAX);
                let wanted = left.min(buffer.len());
                let taken = read(file, buffer.get_mut(..wanted).unwrap_or_default(), at)?;
                context.update(buffer.get(..taken).unwrap_or_default());
                at += taken as u64;
                if taken < wanted {
                    break;
                }
            }
            // Nothing is left; of an empty file there is one hash all the same.
            if at == start && !hashes.is_empty() {
                return Ok(hashes);
            }
            hashes.extend_from_slice(context.finish().as_ref());
            if at < until || at >= end {
                return Ok(hashes);
            }
            if hashes.len() >= MOST_DATA {
                return Err(Errno::TOOBIG.into());
            }
        }
    }

    /// Copies from one open file to another.
    fn copy(
        &self,
        from: &[u8],
        to: &[u8],
        (mut from_offset, mut to_offset): (u64, u64),
        length: u64,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<(), Failed> {
        let end = match length {
            0 => u64::MAX,
            length => from_offset.saturating_add(length),
        };
        let (from, to) = (self.handles.file(from)?, self.handles.file(to)?);
        let (source, target) = (fstat(from)?, fstat(to)?);
        // A file copied into itself may have no end.
        if (source.st_dev, source.st_ino) == (target.st_dev, target.st_ino) {
            return Err(Errno::EXIST.into());
        }
        let mut buffer = vec![0; MOST_DATA];
        while from_offset < end {
            go_on_unless(is_gone)?;
            let left = usize::try_from(end - from_offset).unwrap_or(usize::MAX);
            let wanted = left.min(buffer.len());
            let buffer = buffer.get_mut(..wanted).unwrap_or_default();
            let taken = read(from, buffer, from_offset)?;
            if taken == 0 {
                break;
            }
            write(to, buffer.get(..taken).unwrap_or_default(), to_offset)?;
            from_offset += taken as u64;
            to_offset += taken as u64;
        }
        Ok(())
    }
}

/// Fails once nobody waits for an answer any more.
fn go_on_unless(is_gone: &dyn Fn() -> bool) -> Result<(), Errno> {
    match is_gone() {
        true => Err(Errno::CANCELED),
        false => Ok(()),
    }
}

fn open(tree: &Tree, path: &[u8], flags: u32, mode: Mode) -> Result<rustix::fd::OwnedFd, Errno> {
    let has = |flag| flags & flag != 0;
    let mut how = match (has(OPEN_READ), has(OPEN_WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    how.set(OFlags::APPEND, has(OPEN_APPEND));
    how.set(OFlags::CREATE, has(OPEN_CREATE));
    how.set(OFlags::TRUNC, has(OPEN_TRUNCATE));
    how.set(OFlags::EXCL, has(OPEN_NEW));
    let mode = if has(OPEN_CREATE) {
        mode
    } else {
        Mode::empty()
    };
    tree.open_file(path, how, mode)
}

/// Reads until the buffer is full or the file ends.
fn read(file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut taken = 0;
    while let Some(rest) = into.get_mut(taken..).filter(|rest| !rest.is_empty()) {
        let offset = offset.checked_add(taken as u64).ok_or(Errno::INVAL)?;
        match retry_on_intr(|| pread(file, &mut *rest, offset)) {
            Ok(0) => break,
            Ok(more) => taken += more,
            // Some was read before: the rest is told of when it is asked for.
            Err(_) if taken > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

fn write(file: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let written = retry_on_intr(|| pwrite(file, data, offset))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        data = data.get(written..).unwrap_or_default();
        offset = offset.checked_add(written as u64).ok_or(Errno::FBIG)?;
    }
    Ok(())
}

/// Changes attributes; all are tried, and the last failure is told.
fn set_attributes(file: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), Errno> {
    let owner = attributes.owner.map(|(user, group)| {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        fchown(file, Some(user), Some(group))
    });
    let outcomes = [
        attributes.size.map(|size| ftruncate(file, size)),
        attributes.mode().map(|mode| fchmod(file, mode)),
        attributes.timestamps().map(|times| futimens(file, &times)),
        owner,
    ];
    last_failure(outcomes)
}

/// The names of a file's user and group.
fn owners<'a>(accounts: Option<&'a Accounts>, stat: &Stat) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let user = accounts.and_then(|accounts| accounts.user(stat.st_uid));
    let group = accounts.and_then(|accounts| accounts.group(stat.st_gid));
    (user, group)
}

/// The next names in a directory. What is removed meanwhile is left out.
fn entries(directory: &mut Dir, accounts: Option<&Accounts>) -> Result<Vec<Entry>, Failed> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let mut entries = Vec::new();
    while entries.len() < ENTRIES {
        let entry = match directory.read() {
            Some(entry) => entry?,
            None => break,
        };
        let name = entry.file_name().to_bytes();
        // The directory above the root is none of the client's business.
        let at = if accounts.is_none() && name == b".." {
            b"."
        } else {
            name
        };
        let Ok(stat) = statat(directory.fd()?, at, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        entries.push(Entry {
            name: name.to_vec(),
            line: longname(name, &stat, now, owners(accounts, &stat)),
            stat,
        });
    }
    if entries.is_empty() {
        return Err(Failed::EndOfFile);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
