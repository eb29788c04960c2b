//! The answers of an SFTP server as bytes (draft-ietf-secsh-filexfer-02
//! section 7).

use rustix::fs::{Stat, StatVfs};
use rustix::io::Errno;

use super::attributes::{put_nothing, put_stat};
use super::kinds::{ATTRIBUTES, DATA, EXTENDED, HANDLE, NAME, STATUS, VERSION};
use super::wire::Put;

/// Answers on their way to the client, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Replies(Vec<u8>);

/// A file in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// The line for people, like that of `ls -l`.
    pub(crate) line: Vec<u8>,
    pub(crate) stat: Stat,
}

/// How a request ended (draft-ietf-secsh-filexfer-02 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    EndOfFile = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Why a request could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The file or directory has no more to read.
    EndOfFile,
    /// The message makes no sense.
    BadMessage,
    /// The message asks for something we do not know.
    Unsupported,
    /// Nothing may be written here.
    ReadOnly,
    /// The handle does not exist.
    NoSuchHandle,
    /// As many handles are open as may be.
    TooManyHandles,
    /// The operating system refused it.
    System(Errno),
}

/// Bits of the flags of a file system (OpenSSH's PROTOCOL section 4.4).
const READ_ONLY: u64 = 1;
const NO_SETUID: u64 = 2;

impl Replies {
    /// The number of bytes that wait to be sent.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The answer to the first message.
    pub(crate) fn version<'a>(
        &mut self,
        version: u32,
        extensions: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        self.message(VERSION, |to| {
            to.put_u32(version);
            for (name, version) in extensions {
                to.put_string(name.as_bytes());
                to.put_string(version.as_bytes());
            }
        });
    }

    pub(crate) fn done(&mut self, id: u32) {
        self.status(id, Code::Ok, "Success");
    }

    pub(crate) fn failed(&mut self, id: u32, why: Failed) {
        match why {
            Failed::EndOfFile => self.status(id, Code::EndOfFile, "End of file"),
            Failed::BadMessage => self.status(id, Code::BadMessage, "Bad message"),
            Failed::Unsupported => self.status(id, Code::Unsupported, "Operation unsupported"),
            Failed::ReadOnly => self.status(
                id,
                Code::PermissionDenied,
                "Permission denied: files can only be read here",
            ),
            Failed::NoSuchHandle => self.status(id, Code::Failure, "No such handle"),
            Failed::TooManyHandles => {
                self.status(id, Code::Failure, "Too many open files on this connection");
            }
            Failed::System(errno) => self.status(id, code(errno), &words(errno)),
        }
    }

    pub(crate) fn handle(&mut self, id: u32, handle: &[u8]) {
        self.message(HANDLE, |to| {
            to.put_u32(id);
            to.put_string(handle);
        });
    }

    pub(crate) fn attributes(&mut self, id: u32, stat: &Stat) {
        self.message(ATTRIBUTES, |to| {
            to.put_u32(id);
            put_stat(to, stat);
        });
    }

    /// An answer with one name, of which nothing else is known.
    pub(crate) fn name(&mut self, id: u32, name: &[u8]) {
        self.message(NAME, |to| {
            to.put_u32(id);
            to.put_u32(1);
            to.put_string(name);
            to.put_string(name);
            put_nothing(to);
        });
    }

    /// An answer with a part of a directory's entries.
    pub(crate) fn entries(&mut self, id: u32, entries: &[Entry]) {
        self.message(NAME, |to| {
            to.put_u32(id);
            to.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            for Entry { name, line, stat } in entries {
                to.put_string(name);
                to.put_string(line);
                put_stat(to, stat);
            }
        });
    }

    /// An answer with data, which `read` reads into what it is given; it
    /// returns the number of bytes.
    ///
    /// # Errors
    /// The error of `read`; no answer has been added then.
    pub(crate) fn data(
        &mut self,
        id: u32,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, Failed>,
    ) -> Result<(), Failed> {
        let start = self.0.len();
        let mut taken = Ok(0);
        self.message(DATA, |to| {
            to.put_u32(id);
            let before = to.len();
            to.put_u32(0);
            let data = to.len();
            to.resize(data + length, 0);
            taken = read(to.get_mut(data..).unwrap_or_default());
            let length = taken.unwrap_or(0).min(length);
            to.truncate(data + length);
            set_length(to, before);
        });
        if taken.is_err() {
            self.0.truncate(start);
        }
        taken.map(drop)
    }

    pub(crate) fn file_system(&mut self, id: u32, is: &StatVfs) {
        use rustix::fs::StatVfsMountFlags as Flags;

        let flag = |flag, bit| if is.f_flag.contains(flag) { bit } else { 0 };
        let flags = flag(Flags::RDONLY, READ_ONLY) | flag(Flags::NOSUID, NO_SETUID);
        self.numbers(
            id,
            &[
                is.f_bsize,
                is.f_frsize,
                is.f_blocks,
                is.f_bfree,
                is.f_bavail,
                is.f_files,
                is.f_ffree,
                is.f_favail,
                is.f_fsid,
                flags,
                is.f_namemax,
            ],
        );
    }

    /// The answer to an extension that is all numbers.
    pub(crate) fn numbers(&mut self, id: u32, numbers: &[u64]) {
        self.message(EXTENDED, |to| {
            to.put_u32(id);
            for number in numbers {
                to.put_u64(*number);
            }
        });
    }

    /// An answer with the hashes of parts of a file, one after the other.
    pub(crate) fn hashes(&mut self, id: u32, algorithm: &str, hashes: &[u8]) {
        self.message(EXTENDED, |to| {
            to.put_u32(id);
            to.put_string(b"check-file");
            to.put_string(algorithm.as_bytes());
            to.extend_from_slice(hashes);
        });
    }

    /// An answer with names, those of users and those of groups.
    pub(crate) fn names(&mut self, id: u32, users: &[u8], groups: &[u8]) {
        self.message(EXTENDED, |to| {
            to.put_u32(id);
            to.put_string(users);
            to.put_string(groups);
        });
    }

    fn status(&mut self, id: u32, code: Code, words: &str) {
        self.message(STATUS, |to| {
            to.put_u32(id);
            to.put_u32(code as u32);
            to.put_string(words.as_bytes());
            to.put_string(b"en");
        });
    }

    /// Adds a message of this type; `write` appends what it holds.
    fn message(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.put_u32(0);
        self.0.push(kind);
        write(&mut self.0);
        set_length(&mut self.0, start);
    }
}

/// Makes the number at `place` say how much follows it.
fn set_length(message: &mut [u8], place: usize) {
    let Some((length, rest)) = message
        .get_mut(place..)
        .and_then(|rest| rest.split_first_chunk_mut())
    else {
        return;
    };
    *length = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_be_bytes();
}

/// The status of an error, the same as with OpenSSH's server: clients rely on
/// it.
fn code(errno: Errno) -> Code {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP => Code::NoSuchFile,
        Errno::PERM | Errno::ACCESS | Errno::FAULT => Code::PermissionDenied,
        Errno::NAMETOOLONG | Errno::INVAL => Code::BadMessage,
        Errno::NOSYS => Code::Unsupported,
        _ => Code::Failure,
    }
}

/// The operating system's message, without the number that Rust adds.
fn words(errno: Errno) -> String {
    let words = std::io::Error::from(errno).to_string();
    match words.find(" (os error") {
        Some(end) => words.get(..end).unwrap_or_default().to_owned(),
        None => words,
    }
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}
