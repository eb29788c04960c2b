//! Reading a library once, from a place nobody else can change.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::elf;
use crate::folder::{check_owner, check_writable, open_trusted};
use crate::refusal::Refusal;
use crate::signature::{self, Signer, signature_path};

/// The largest library that is read, in bytes: 512 MiB.
pub const MAX_SIZE: u64 = 512 << 20;

/// Whose libraries are loaded, beyond what owners and modes say. The default
/// asks for nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// If given, the contents must have one of these digests.
    pub allow_digests: Option<Vec<Digest>>,
    /// If any, the signature beside the library must be by one of these keys.
    pub signers: Vec<Signer>,
    /// With `signers`: whether a library may have no signature at all. A wrong
    /// one is refused either way.
    pub allow_unsigned: bool,
}

impl Trust {
    /// Whether a library that was let in before may still be: by its digest,
    /// and by who had signed it then.
    ///
    /// # Errors
    /// When it may not.
    pub fn still_accepts(
        &self,
        path: &Path,
        digest: Digest,
        signer: Option<&Signer>,
    ) -> Result<(), Refusal> {
        self.accepts(path, digest)?;
        let trusted = match signer {
            Some(signer) => self.signers.contains(signer),
            None => self.allow_unsigned,
        };
        if trusted || self.signers.is_empty() {
            return Ok(());
        }
        Err(Refusal::NoLongerTrusted {
            path: path.to_owned(),
            signer: signer.cloned(),
            expected: self.signers.clone(),
        })
    }

    fn accepts(&self, path: &Path, digest: Digest) -> Result<(), Refusal> {
        match &self.allow_digests {
            Some(allowed) if !allowed.contains(&digest) => Err(Refusal::DigestNotAllowed {
                path: path.to_owned(),
                found: digest,
                expected: allowed.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// A library's contents as they were read from a trusted file. What happens to the file afterwards has no effect.
pub struct TrustedFile {
    path: PathBuf,
    bytes: Vec<u8>,
    digest: Digest,
    signer: Option<Signer>,
}

impl TrustedFile {
    /// Opens the file once and reads it whole, through that one handle.
    ///
    /// The file must be a regular file, not a symbolic link; it and every directory on its path must belong to root or to
    /// this process's effective user; others must be unable to write to any of them (an ancestor directory with the sticky
    /// bit, as `/tmp`, is let through). The contents that were read must then be what `trust` asks for.
    pub fn read(path: &Path, trust: &Trust) -> Result<Self, Refusal> {
        Self::accept(path, read_checked(path, MAX_SIZE, |_, _| Ok(()))?, trust)
    }

    /// As [`read`](Self::read), for a file that must be a library for this machine: what its first bytes show to be
    /// something else, or to be shorter than the file, is not read further.
    pub fn read_library(path: &Path, trust: &Trust) -> Result<Self, Refusal> {
        let header = |start: &[u8], size| elf::check_header(path, start, size);
        Self::accept(path, read_checked(path, MAX_SIZE, header)?, trust)
    }

    fn accept(path: &Path, bytes: Vec<u8>, trust: &Trust) -> Result<Self, Refusal> {
        let digest = Digest::of(&bytes);
        trust.accepts(path, digest)?;
        let signer = check_signature(path, &bytes, trust)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            digest,
            signer,
        })
    }

    /// Where the library was read from, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole contents.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the contents.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Who signed it; `None` if nobody needed to.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }
}

impl std::fmt::Debug for TrustedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustedFile")
            .field("path", &self.path)
            .field("size", &self.bytes.len())
            .field("digest", &self.digest)
            .field("signer", &self.signer)
            .finish()
    }
}

fn check_signature(path: &Path, bytes: &[u8], trust: &Trust) -> Result<Option<Signer>, Refusal> {
    if trust.signers.is_empty() {
        return Ok(None);
    }
    let unread = |_: &[u8], _: u64| Ok(());
    match read_checked(&signature_path(path), signature::MAX_SIZE, unread) {
        Ok(signature) => signature::check(path, bytes, &signature, &trust.signers).map(Some),
        Err(Refusal::Missing { .. }) if trust.allow_unsigned => Ok(None),
        Err(Refusal::Missing { .. }) => Err(Refusal::Unsigned {
            path: path.to_owned(),
            expected: trust.signers.clone(),
        }),
        Err(Refusal::Empty { path: signature }) => Err(Refusal::SignatureDamaged {
            path: path.to_owned(),
            signature,
            problem: "it is empty".to_owned(),
        }),
        Err(Refusal::TooLarge {
            path: signature,
            size,
            ..
        }) => Err(Refusal::SignatureDamaged {
            path: path.to_owned(),
            signature,
            problem: format!("it has {size} bytes"),
        }),
        Err(other) => Err(other),
    }
}

/// Checks a file that decides what the node does, such as its configuration, by
/// the rule for libraries: it and every directory above it belong to root or to
/// this process's user, and nobody else can change them. A symbolic link is
/// followed if its own owner passes.
///
/// # Errors
/// What breaks the rule. A file that is not there does not.
pub fn check_place(path: &Path) -> Result<(), Refusal> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(path, "resolve the file", error)),
    };
    for path in [path, &real] {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        open_trusted(directory)?;
    }
    let stat = rustix::fs::stat(&real).map_err(|e| io_error(path, "look at the file", e.into()))?;
    check_owner(path, "the file", &stat)?;
    check_writable(path, "the file", &stat, false)
}

/// Reads a file whole, once `check` has looked at its first bytes, [`elf::HEADER_SIZE`] at most, and its size.
fn read_checked(
    path: &Path,
    limit: u64,
    check: impl FnOnce(&[u8], u64) -> Result<(), Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let mut file = open(path)?;
    let failed = |source: io::Error| io_error(path, "read the file", source);
    let before = fstat(&file).map_err(|e| failed(e.into()))?;
    check_kind(path, FileType::from_raw_mode(before.st_mode))?;
    check_owner(path, "the file", &before)?;
    check_writable(path, "the file", &before, false)?;

    let size = u64::try_from(before.st_size).unwrap_or(0);
    if size == 0 {
        return Err(Refusal::Empty {
            path: path.to_owned(),
        });
    }
    if size > limit {
        return Err(Refusal::TooLarge {
            path: path.to_owned(),
            size,
            limit,
        });
    }
    let mut bytes = Vec::new();
    let mut from_start = |bytes: &mut Vec<u8>, length: u64| {
        let rest = length.saturating_sub(bytes.len() as u64);
        (&mut file).take(rest).read_to_end(bytes)
    };
    from_start(&mut bytes, elf::HEADER_SIZE).map_err(failed)?;
    check(&bytes, size)?;
    let all = usize::try_from(size).unwrap_or(0);
    let more = all.saturating_add(1).saturating_sub(bytes.len());
    // Without room for it, the file is refused and the process goes on.
    bytes
        .try_reserve_exact(more)
        .map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    // One byte more than was announced tells a file that grows.
    from_start(&mut bytes, size + 1).map_err(failed)?;
    let after = fstat(&file).map_err(|e| failed(e.into()))?;
    let same_times =
        (before.st_mtime, before.st_mtime_nsec) == (after.st_mtime, after.st_mtime_nsec);
    if bytes.len() as u64 != size || before.st_size != after.st_size || !same_times {
        return Err(Refusal::Changed {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, Refusal> {
    let Some(name) = path.file_name() else {
        return Err(Refusal::NotAFile {
            path: path.to_owned(),
            found: "a directory",
        });
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = open_trusted(folder)?;
    // NONBLOCK: opening a pipe must not wait for its writer. It has no effect on a regular file.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(&folder, name, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| match errno {
            Errno::LOOP => Refusal::Symlink {
                path: path.to_owned(),
            },
            Errno::NOENT => Refusal::Missing {
                path: path.to_owned(),
            },
            Errno::NXIO => Refusal::NotAFile {
                path: path.to_owned(),
                found: "a socket",
            },
            errno => io_error(path, "open the file", errno.into()),
        })
}

fn check_kind(path: &Path, kind: FileType) -> Result<(), Refusal> {
    let found = match kind {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something unknown",
    };
    Err(Refusal::NotAFile {
        path: path.to_owned(),
        found,
    })
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Refusal {
    Refusal::Io {
        path: path.to_owned(),
        action,
        source,
    }
}
