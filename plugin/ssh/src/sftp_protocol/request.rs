//! The requests of an SFTP client, read from bytes
//! (draft-ietf-secsh-filexfer-02 section 6).

use super::attributes::Attributes;
use super::wire::{Malformed, Reader};

/// A client's request (draft-ietf-secsh-filexfer-02, and the extensions in
/// OpenSSH's PROTOCOL). Paths and handles are bytes: Unix file names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
        follow: bool,
    },
    StatHandle {
        handle: &'a [u8],
    },
    SetStat {
        path: &'a [u8],
        attributes: Attributes,
        follow: bool,
    },
    SetStatHandle {
        handle: &'a [u8],
        attributes: Attributes,
    },
    OpenFolder {
        path: &'a [u8],
    },
    ReadFolder {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MakeFolder {
        path: &'a [u8],
        attributes: Attributes,
    },
    RemoveFolder {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
        /// Whether a file that has the new name already is replaced.
        replace: bool,
    },
    ReadLink {
        path: &'a [u8],
    },
    Symlink {
        target: &'a [u8],
        link: &'a [u8],
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    FileSystem {
        path: &'a [u8],
    },
    FileSystemOfHandle {
        handle: &'a [u8],
    },
    Sync {
        handle: &'a [u8],
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    CopyData {
        from: &'a [u8],
        from_offset: u64,
        /// The number of bytes; zero stands for all up to the end.
        length: u64,
        to: &'a [u8],
        to_offset: u64,
    },
    Home {
        user: &'a [u8],
    },
    /// The names of users and groups, by four bytes each.
    Names {
        users: &'a [u8],
        groups: &'a [u8],
    },
    /// The hash of a part of an open file.
    CheckFile {
        handle: &'a [u8],
        /// Names of hash algorithms, with commas between them.
        algorithms: &'a [u8],
        offset: u64,
        /// The number of bytes; zero stands for all up to the end.
        length: u64,
        /// Bytes of each part that is hashed on its own; zero: all in one.
        block: u32,
    },
}

/// A message from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// The first message: the highest version of the protocol it speaks.
    Init { version: u32 },
    /// A request, which is answered with the same number.
    Request {
        id: u32,
        request: Result<Request<'a>, Unusable>,
    },
}

/// A message with a number that asks for nothing we can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The message does not hold what its type says.
    Malformed,
    /// Its type, or the extension it names, is not known.
    Unknown,
}

/// The extensions that are understood, with their versions, and whether they
/// write.
pub(crate) const EXTENSIONS: [(&str, &str, bool); 12] = [
    ("posix-rename@openssh.com", "1", true),
    ("statvfs@openssh.com", "2", false),
    ("fstatvfs@openssh.com", "2", false),
    ("hardlink@openssh.com", "1", true),
    ("fsync@openssh.com", "1", true),
    ("lsetstat@openssh.com", "1", true),
    ("limits@openssh.com", "1", false),
    ("expand-path@openssh.com", "1", false),
    ("copy-data", "1", true),
    ("home-directory", "1", false),
    ("users-groups-by-id@openssh.com", "1", false),
    // draft-ietf-secsh-filexfer-extensions-00 section 3.
    ("check-file", "1", false),
];

const INIT: u8 = 1;

/// Reads one message, without its length.
///
/// # Errors
/// When it is too short for a type and a number.
pub(crate) fn parse(message: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut reader = Reader::new(message);
    let kind = reader.u8()?;
    if kind == INIT {
        let version = reader.u32()?;
        return Ok(Message::Init { version });
    }
    let id = reader.u32()?;
    let request = request(kind, reader);
    Ok(Message::Request { id, request })
}

fn request(kind: u8, mut from: Reader<'_>) -> Result<Request<'_>, Unusable> {
    let from = &mut from;
    Ok(match kind {
        3 => Request::Open {
            path: from.string()?,
            flags: from.u32()?,
            attributes: Attributes::read(from)?,
        },
        4 => Request::Close {
            handle: from.string()?,
        },
        5 => Request::Read {
            handle: from.string()?,
            offset: from.u64()?,
            length: from.u32()?,
        },
        6 => Request::Write {
            handle: from.string()?,
            offset: from.u64()?,
            data: from.string()?,
        },
        7 => Request::Stat {
            path: from.string()?,
            follow: false,
        },
        8 => Request::StatHandle {
            handle: from.string()?,
        },
        9 => Request::SetStat {
            path: from.string()?,
            attributes: Attributes::read(from)?,
            follow: true,
        },
        10 => Request::SetStatHandle {
            handle: from.string()?,
            attributes: Attributes::read(from)?,
        },
        11 => Request::OpenFolder {
            path: from.string()?,
        },
        12 => Request::ReadFolder {
            handle: from.string()?,
        },
        13 => Request::Remove {
            path: from.string()?,
        },
        14 => Request::MakeFolder {
            path: from.string()?,
            attributes: Attributes::read(from)?,
        },
        15 => Request::RemoveFolder {
            path: from.string()?,
        },
        16 => Request::RealPath {
            path: from.string()?,
        },
        17 => Request::Stat {
            path: from.string()?,
            follow: true,
        },
        18 => Request::Rename {
            from: from.string()?,
            to: from.string()?,
            replace: false,
        },
        19 => Request::ReadLink {
            path: from.string()?,
        },
        // The draft says it the other way round; OpenSSH sends it so to
        // every server, and most clients do (ADR 31).
        20 => Request::Symlink {
            target: from.string()?,
            link: from.string()?,
        },
        200 => return extended(from.string()?, from),
        _ => return Err(Unusable::Unknown),
    })
}

fn extended<'a>(name: &[u8], from: &mut Reader<'a>) -> Result<Request<'a>, Unusable> {
    Ok(match name {
        b"posix-rename@openssh.com" => Request::Rename {
            from: from.string()?,
            to: from.string()?,
            replace: true,
        },
        b"statvfs@openssh.com" => Request::FileSystem {
            path: from.string()?,
        },
        b"fstatvfs@openssh.com" => Request::FileSystemOfHandle {
            handle: from.string()?,
        },
        b"hardlink@openssh.com" => Request::HardLink {
            from: from.string()?,
            to: from.string()?,
        },
        b"fsync@openssh.com" => Request::Sync {
            handle: from.string()?,
        },
        b"lsetstat@openssh.com" => Request::SetStat {
            path: from.string()?,
            attributes: Attributes::read(from)?,
            follow: false,
        },
        b"limits@openssh.com" => Request::Limits,
        b"expand-path@openssh.com" => Request::ExpandPath {
            path: from.string()?,
        },
        b"copy-data" => Request::CopyData {
            from: from.string()?,
            from_offset: from.u64()?,
            length: from.u64()?,
            to: from.string()?,
            to_offset: from.u64()?,
        },
        b"home-directory" => Request::Home {
            user: from.string()?,
        },
        b"users-groups-by-id@openssh.com" => Request::Names {
            users: ids(from.string()?)?,
            groups: ids(from.string()?)?,
        },
        // The first is the draft's name, the second what paramiko asks for.
        b"check-file-handle" | b"check-file" => Request::CheckFile {
            handle: from.string()?,
            algorithms: from.string()?,
            offset: from.u64()?,
            length: from.u64()?,
            block: from.u32()?,
        },
        _ => return Err(Unusable::Unknown),
    })
}

/// Checks that bytes are numbers of four bytes each.
fn ids(bytes: &[u8]) -> Result<&[u8], Malformed> {
    match bytes.len().is_multiple_of(4) {
        true => Ok(bytes),
        false => Err(Malformed),
    }
}

impl Request<'_> {
    /// Whether it may change something, whatever it is applied to. Writing to
    /// a handle is decided when the handle is opened.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Open { flags, .. } => flags & !OPEN_READ != 0,
            Self::Write { .. }
            | Self::SetStat { .. }
            | Self::SetStatHandle { .. }
            | Self::Remove { .. }
            | Self::MakeFolder { .. }
            | Self::RemoveFolder { .. }
            | Self::Rename { .. }
            | Self::Symlink { .. }
            | Self::HardLink { .. }
            | Self::Sync { .. }
            | Self::CopyData { .. } => true,
            Self::Close { .. }
            | Self::Read { .. }
            | Self::Stat { .. }
            | Self::StatHandle { .. }
            | Self::OpenFolder { .. }
            | Self::ReadFolder { .. }
            | Self::RealPath { .. }
            | Self::ReadLink { .. }
            | Self::FileSystem { .. }
            | Self::FileSystemOfHandle { .. }
            | Self::Limits
            | Self::ExpandPath { .. }
            | Self::Home { .. }
            | Self::Names { .. }
            | Self::CheckFile { .. } => false,
        }
    }
}

/// Flags of `Open`.
pub(crate) const OPEN_READ: u32 = 0x01;
pub(crate) const OPEN_WRITE: u32 = 0x02;
pub(crate) const OPEN_APPEND: u32 = 0x04;
pub(crate) const OPEN_CREATE: u32 = 0x08;
pub(crate) const OPEN_TRUNCATE: u32 = 0x10;
pub(crate) const OPEN_NEW: u32 = 0x20;

impl From<Malformed> for Unusable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp_protocol::wire::Put;

    #[test]
    fn every_request_cut_anywhere_is_malformed_and_whole_is_understood() {
        for kind in 3..=20 {
            let body = [0; 64];
            let whole = request(kind, Reader::new(&body));
            assert!(whole.is_ok(), "{kind}");
            assert_eq!(request(kind, Reader::new(&[])), Err(Unusable::Malformed));
        }
        for (name, ..) in EXTENSIONS {
            let mut body = Vec::new();
            body.put_string(name.as_bytes());
            body.extend_from_slice(&[0; 64]);
            assert!(request(200, Reader::new(&body)).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_apart_from_what_is_malformed() {
        assert_eq!(request(21, Reader::new(&[])), Err(Unusable::Unknown));
        let mut body = Vec::new();
        body.put_string(b"format-disk@example.com");
        assert_eq!(request(200, Reader::new(&body)), Err(Unusable::Unknown));
        assert_eq!(parse(&[3, 0, 0]), Err(Malformed));
    }

    #[test]
    fn a_string_longer_than_its_message_is_malformed() {
        let body = [0xff, 0xff, 0xff, 0xff, b'x'];
        assert_eq!(request(13, Reader::new(&body)), Err(Unusable::Malformed));
    }
}
