//! Files at the server, through its `sftp` subsystem: version 3 of the
//! protocol (draft-ietf-secsh-filexfer-02), with what extensions there are.

mod answer;
mod channel;
mod error;
mod file;

use std::sync::Arc;

pub use answer::{DirectoryEntry, FileAttributes, FileKind};
use channel::Channel;
pub use error::{FilesError, Status};
pub use file::{Pending, RemoteFile};

use self::answer::{Answer, read_limits, read_version};
use super::{Client, Program, SessionRequest};
use crate::sftp_protocol::wire::Put as _;

/// Files at the server. Several requests may be under way at a time; they are
/// sent in the order in which they were made. Dropping it ends the subsystem.
#[derive(Clone, Debug)]
pub struct Files {
    channel: Arc<Channel>,
    limits: Limits,
    /// The names of the extensions that the server offers.
    extensions: Arc<[String]>,
}

/// The limits that the server states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of data in one answer to a read.
    pub read: u32,
    /// Bytes of data in one write.
    pub write: u32,
    /// Files and directories that may be open at a time; `None` if the server does
    /// not say.
    pub handles: Option<u64>,
}

/// The most that a listing may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingLimit {
    /// The number of entries.
    pub entries: usize,
    /// The bytes of their names, all together.
    pub bytes: usize,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHow {
    /// To read it.
    Read,
    /// To read and write it; it is made with these permissions if there is
    /// none, and what it holds stays.
    Write {
        /// Permission bits, of which the server may take some away.
        permissions: u32,
    },
}

/// The bytes of data that every server takes in one message
/// (draft-ietf-secsh-filexfer-02 section 3).
const LEAST_DATA: u32 = 32 * 1024;
/// The most bytes of data that are asked for in one message: more gains
/// nothing.
const MOST_DATA: u64 = 255 * 1024;
const VERSION: u32 = 3;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const LSTAT: u8 = 7;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;

const OPEN_READ: u32 = 0x01;
const OPEN_WRITE: u32 = 0x02;
const OPEN_CREATE: u32 = 0x08;

const WITH_SIZE: u32 = 1;
const WITH_PERMISSIONS: u32 = 4;
const WITH_TIMES: u32 = 8;

/// An attribute to change.
enum Change {
    Size(u64),
    Permissions(u32),
    Times((u32, u32)),
}

impl Files {
    /// Starts the subsystem on a channel of its own.
    ///
    /// # Errors
    /// When the server does not serve files to this user, with its words if it
    /// has any, or the connection fails.
    pub async fn start(client: &Client) -> Result<Self, FilesError> {
        let process = client.start(SessionRequest {
            program: Program::Subsystem("sftp".to_owned()),
            environment: Vec::new(),
            terminal: None,
        });
        let channel = Arc::new(Channel::new(process.await?));
        let greeting = channel.introduce(INIT, VERSION).await?;
        let extensions = read_version(greeting, VERSION)?;
        let mut files = Self {
            channel,
            limits: Limits {
                read: LEAST_DATA,
                write: LEAST_DATA,
                handles: None,
            },
            extensions: extensions.into(),
        };
        if files.offers("limits@openssh.com") {
            let answer = files.extended("limits@openssh.com", |_| {}).await?;
            files.limits = limits(&read_limits(answer)?);
        }
        Ok(files)
    }

    /// The limits that the server states.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the server can say what a file hashes to.
    pub fn has_checksums(&self) -> bool {
        self.offers(file::CHECK_FILE)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// When the server refuses, or the connection fails; the same holds for all
    /// methods below.
    pub async fn open(&self, path: &[u8], how: OpenHow) -> Result<RemoteFile, FilesError> {
        let answer = self.channel.ask(OPEN, |to| {
            to.put_string(path);
            match how {
                OpenHow::Read => {
                    to.put_u32(OPEN_READ);
                    to.put_u32(0);
                }
                OpenHow::Write { permissions } => {
                    to.put_u32(OPEN_READ | OPEN_WRITE | OPEN_CREATE);
                    to.put_u32(WITH_PERMISSIONS);
                    to.put_u32(permissions);
                }
            }
        });
        let handle = answer.await?.handle()?;
        Ok(RemoteFile::new(self.clone(), handle))
    }

    /// The attributes of a file, or of the one a symbolic link leads to.
    pub async fn stat(&self, path: &[u8]) -> Result<FileAttributes, FilesError> {
        let answer = self.channel.ask(STAT, |to| to.put_string(path));
        answer.await?.attributes()
    }

    /// The attributes of a file or of a symbolic link itself.
    pub async fn stat_link(&self, path: &[u8]) -> Result<FileAttributes, FilesError> {
        let answer = self.channel.ask(LSTAT, |to| to.put_string(path));
        answer.await?.attributes()
    }

    /// The path without links, `.` and `..`, from the root on.
    pub async fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
        let answer = self.channel.ask(REALPATH, |to| to.put_string(path));
        let names = answer.await?.names()?;
        let name = names.into_iter().next();
        name.map(|entry| entry.name)
            .ok_or(FilesError::Protocol("an answer without a path"))
    }

    /// All entries of a directory, without `.` and `..`, if they are not more
    /// than `most`: a server could go on for ever.
    pub async fn read_folder(
        &self,
        path: &[u8],
        most: ListingLimit,
    ) -> Result<Vec<DirectoryEntry>, FilesError> {
        let opened = self.channel.ask(OPENDIR, |to| to.put_string(path));
        let directory = RemoteFile::new(self.clone(), opened.await?.handle()?);
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        let mut bytes = 0;
        loop {
            let answer = self
                .channel
                .ask(READDIR, |to| to.put_string(directory.name()));
            match answer.await?.names() {
                Ok(more) if more.is_empty() => break,
                Ok(more) => {
                    bytes += more.iter().map(|entry| entry.name.len()).sum::<usize>();
                    entries.extend(more);
                    if entries.len() > most.entries || bytes > most.bytes {
                        return Err(FilesError::TooMany);
                    }
                }
                Err(FilesError::Refused {
                    status: Status::EndOfFile,
                    ..
                }) => break,
                Err(error) => return Err(error),
            }
        }
        directory.close().await?;
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        Ok(entries)
    }

    /// Makes a directory.
    pub async fn make_directory(&self, path: &[u8], permissions: u32) -> Result<(), FilesError> {
        let answer = self.channel.ask(MKDIR, |to| {
            to.put_string(path);
            to.put_u32(WITH_PERMISSIONS);
            to.put_u32(permissions);
        });
        answer.await?.done()
    }

    /// Sets permission bits.
    pub async fn set_permissions(&self, path: &[u8], permissions: u32) -> Result<(), FilesError> {
        self.set(SETSTAT, path, Change::Permissions(permissions))
            .await
    }

    /// Sets the times of a file's last access and last change, in seconds since
    /// 1970.
    pub async fn set_times(&self, path: &[u8], times: (u32, u32)) -> Result<(), FilesError> {
        self.set(SETSTAT, path, Change::Times(times)).await
    }

    /// Gives a file another name, in the place of the file that has it.
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), FilesError> {
        const AT_ONCE: &str = "posix-rename@openssh.com";
        let paths = |message: &mut Vec<u8>| {
            message.put_string(from);
            message.put_string(to);
        };
        if self.offers(AT_ONCE) {
            return self.extended(AT_ONCE, paths).await?.done();
        }
        // The protocol's own does not replace anything.
        let removed = self.channel.ask(REMOVE, |message| message.put_string(to));
        match removed.await?.done() {
            Ok(()) => {}
            Err(error) if error.status() == Some(Status::NoSuchFile) => {}
            Err(error) => return Err(error),
        }
        self.channel.ask(RENAME, paths).await?.done()
    }

    /// Removes a file.
    pub async fn remove(&self, path: &[u8]) -> Result<(), FilesError> {
        let answer = self.channel.ask(REMOVE, |to| to.put_string(path));
        answer.await?.done()
    }

    /// Changes an attribute of a file, named by a path or a handle.
    async fn set(&self, kind: u8, name: &[u8], change: Change) -> Result<(), FilesError> {
        let answer = self.channel.ask(kind, |to| {
            to.put_string(name);
            match change {
                Change::Size(size) => {
                    to.put_u32(WITH_SIZE);
                    to.put_u64(size);
                }
                Change::Permissions(permissions) => {
                    to.put_u32(WITH_PERMISSIONS);
                    to.put_u32(permissions);
                }
                Change::Times((read, changed)) => {
                    to.put_u32(WITH_TIMES);
                    to.put_u32(read);
                    to.put_u32(changed);
                }
            }
        });
        answer.await?.done()
    }

    fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension)
    }

    async fn extended(
        &self,
        name: &str,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Answer, FilesError> {
        let answer = self.channel.ask(EXTENDED, |to| {
            to.put_string(name.as_bytes());
            body(to);
        });
        answer.await
    }
}

/// The limits from the numbers of `limits@openssh.com`: bytes of a message, of
/// a read, of a write, and handles; zero stands for no limit.
fn limits(numbers: &[u64; 4]) -> Limits {
    let [_, read, write, handles] = *numbers;
    let data = |number: u64| match number {
        0 => LEAST_DATA,
        number => u32::try_from(number.min(MOST_DATA)).unwrap_or(LEAST_DATA),
    };
    Limits {
        read: data(read),
        write: data(write),
        handles: (handles > 0).then_some(handles),
    }
}
