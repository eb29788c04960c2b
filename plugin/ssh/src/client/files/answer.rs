//! The messages of an SFTP server, read and kept off the user's terminal.

use alknet_text::visible_bytes;
use bytes::Bytes;

use super::error::{FilesError, Status};
use crate::sftp_protocol::attributes::Attributes;
use crate::sftp_protocol::kinds::{ATTRIBUTES, DATA, EXTENDED, HANDLE, NAME, STATUS, VERSION};
use crate::sftp_protocol::wire::{Malformed, Reader};

/// The server's answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    Status(u32, String),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<DirectoryEntry>),
    Attributes(FileAttributes),
    Extended(Bytes),
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The entry's name, as the server says it: it may be anything.
    pub name: Vec<u8>,
    /// The entry's attributes; for a link, those of the link itself.
    pub attributes: FileAttributes,
}

/// The attributes of a file; `None` where the server does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileAttributes {
    /// Its kind.
    pub kind: Option<FileKind>,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The permission bits.
    pub permissions: Option<u32>,
    /// The times of the last access and the last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Something that holds bytes.
    File,
    /// A directory.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// The most bytes of a server's message that are passed on.
const LONGEST_WORDS: usize = 300;

/// The number of the request that a message answers, and the answer.
pub(super) fn read_answer(message: &Bytes) -> Result<(u32, Answer), FilesError> {
    let mut from = Reader::new(message);
    let kind = from.u8()?;
    let id = from.u32()?;
    let rest = || message.slice(size_of::<u8>() + size_of::<u32>()..);
    let answer = match kind {
        STATUS => {
            let code = from.u32()?;
            // Old servers leave them out.
            let words = from.string().map(printable).unwrap_or_default();
            Answer::Status(code, words)
        }
        HANDLE => Answer::Handle(message.slice_ref(from.string()?)),
        DATA => Answer::Data(message.slice_ref(from.string()?)),
        NAME => {
            let count = from.u32()?;
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(entry(&mut from)?);
            }
            Answer::Names(names)
        }
        ATTRIBUTES => Answer::Attributes(Attributes::read(&mut from)?.into()),
        EXTENDED => Answer::Extended(rest()),
        _ => return Err(FilesError::Protocol("an answer of an unknown kind")),
    };
    Ok((id, answer))
}

/// The extensions a server offers in its first message.
pub(super) fn read_version(message: Bytes, wanted: u32) -> Result<Vec<String>, FilesError> {
    let mut from = Reader::new(&message);
    if from.u8()? != VERSION {
        return Err(FilesError::Protocol(
            "something that is not a file transfer",
        ));
    }
    if from.u32()? != wanted {
        return Err(FilesError::Protocol(
            "another version of the protocol than 3",
        ));
    }
    let mut names = Vec::new();
    while let Ok(name) = from.string() {
        from.string()?;
        names.push(printable(name));
    }
    Ok(names)
}

/// Reads the numbers that answer `limits@openssh.com`.
pub(super) fn read_limits(answer: Answer) -> Result<[u64; 4], FilesError> {
    let body = answer.extended()?;
    let mut from = Reader::new(&body);
    Ok([from.u64()?, from.u64()?, from.u64()?, from.u64()?])
}

/// Reads the hash that answers a request for one.
pub(super) fn read_hash(answer: Answer, algorithm: &str) -> Result<Vec<u8>, FilesError> {
    let body = answer.extended()?;
    let mut from = Reader::new(&body);
    from.string()?;
    if from.string()? != algorithm.as_bytes() {
        return Err(FilesError::Protocol("a hash that was not asked for"));
    }
    Ok(from.rest().to_vec())
}

impl Answer {
    pub(super) fn done(self) -> Result<(), FilesError> {
        match self {
            Self::Status(OK, _) => Ok(()),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn handle(self) -> Result<Bytes, FilesError> {
        match self {
            Self::Handle(handle) => Ok(handle),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn data(self) -> Result<Bytes, FilesError> {
        match self {
            Self::Data(data) => Ok(data),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn names(self) -> Result<Vec<DirectoryEntry>, FilesError> {
        match self {
            Self::Names(names) => Ok(names),
            other => Err(other.refusal()),
        }
    }

    pub(super) fn attributes(self) -> Result<FileAttributes, FilesError> {
        match self {
            Self::Attributes(attributes) => Ok(attributes),
            other => Err(other.refusal()),
        }
    }

    fn extended(self) -> Result<Bytes, FilesError> {
        match self {
            Self::Extended(body) => Ok(body),
            other => Err(other.refusal()),
        }
    }

    fn refusal(self) -> FilesError {
        match self {
            Self::Status(OK, _) => FilesError::Protocol("a success without a result"),
            Self::Status(code, words) => FilesError::Refused {
                status: code.into(),
                words: match (words.is_empty(), Status::from(code)) {
                    (false, _) => words,
                    (true, Status::EndOfFile) => "End of file".to_owned(),
                    (true, Status::NoSuchFile) => "No such file".to_owned(),
                    (true, Status::PermissionDenied) => "Permission denied".to_owned(),
                    (true, Status::Unsupported) => "Operation unsupported".to_owned(),
                    (true, Status::Failure | Status::Other(_)) => "Failure".to_owned(),
                },
            },
            _ => FilesError::Protocol("an answer to something else"),
        }
    }
}

const OK: u32 = 0;

impl From<Attributes> for FileAttributes {
    fn from(attributes: Attributes) -> Self {
        const KIND: u32 = 0o170_000;
        let kind = |mode: u32| match mode & KIND {
            0o100_000 => Some(FileKind::File),
            0o040_000 => Some(FileKind::Folder),
            0o120_000 => Some(FileKind::Link),
            0 => None,
            _ => Some(FileKind::Other),
        };
        Self {
            kind: attributes.permissions.and_then(kind),
            size: attributes.size,
            permissions: attributes.permissions.map(|mode| mode & !KIND),
            times: attributes.times,
        }
    }
}

fn entry(from: &mut Reader<'_>) -> Result<DirectoryEntry, Malformed> {
    let name = from.string()?.to_vec();
    // A line for people, of no fixed form.
    from.string()?;
    Ok(DirectoryEntry {
        name,
        attributes: Attributes::read(from)?.into(),
    })
}

/// A server's message made safe for a terminal, and cut where it is too long.
pub(super) fn printable(words: &[u8]) -> String {
    visible_bytes(words.trim_ascii())
        .chars()
        .take(LONGEST_WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp_protocol::wire::Put as _;

    fn message(kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut message = vec![kind];
        message.put_u32(7);
        body(&mut message);
        message.into()
    }

    #[test]
    fn what_a_server_says_is_kept_off_the_terminal() {
        let refusal = message(STATUS, |to| {
            to.put_u32(4);
            to.put_string(b"no\x1b[2J\nway\xff");
            to.put_string(b"en");
        });
        let (id, answer) = read_answer(&refusal).unwrap();
        assert_eq!(id, 7);
        let error = answer.done().unwrap_err();
        assert_eq!(error.status(), Some(Status::Failure));
        assert_eq!(error.to_string(), r"no\u{1b}[2J\nway\xff");
        let short = message(STATUS, |to| to.put_u32(3));
        let (_, answer) = read_answer(&short).unwrap();
        assert_eq!(answer.done().unwrap_err().to_string(), "Permission denied");
    }

    #[test]
    fn answers_cut_anywhere_are_malformed() {
        let names = message(NAME, |to| {
            to.put_u32(1);
            to.put_string(b"\xff name");
            to.put_string(b"-rw");
            to.put_u32(4);
            to.put_u32(0o120_777);
        });
        let (_, answer) = read_answer(&names).unwrap();
        let entries = answer.names().unwrap();
        assert_eq!(entries[0].name, b"\xff name");
        assert_eq!(entries[0].attributes.kind, Some(FileKind::Link));
        assert_eq!(entries[0].attributes.permissions, Some(0o777));
        for cut in 0..names.len() {
            assert!(read_answer(&names.slice(..cut)).is_err(), "{cut}");
        }
        // Four billion names in a few bytes.
        let many = message(NAME, |to| to.put_u32(u32::MAX));
        assert!(read_answer(&many).is_err());
    }

    #[test]
    fn an_answer_to_something_else_is_no_answer() {
        let (_, answer) = read_answer(&message(STATUS, |to| to.put_u32(0))).unwrap();
        assert!(matches!(answer.handle(), Err(FilesError::Protocol(_))));
        let handle = message(HANDLE, |to| to.put_string(b"h"));
        let (_, answer) = read_answer(&handle).unwrap();
        assert!(matches!(answer.done(), Err(FilesError::Protocol(_))));
        assert!(read_answer(&message(99, |_| {})).is_err());
    }
}
