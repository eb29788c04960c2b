//! Reading a library once, from a place nobody else can change.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::digest::{Digest, Hashes};
use crate::elf;
use crate::folder::{check_owner, check_writable, open_trusted};
use crate::refusal::Refusal;
use crate::signature::{self, Signer, signature_path};

/// The largest library that is read, in bytes: 512 MiB.
pub const MAX_SIZE: u64 = 512 << 20;

/// The conditions under which a library is loaded, beyond owners and modes. The
/// default asks for nothing more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The digests of which the contents must have one, if given.
    pub allow_digests: Option<Vec<Digest>>,
    /// The keys of which one must have signed the library, if there are any.
    pub signers: Vec<Signer>,
    /// Whether a library may have no signature at all although `signers` are
    /// given. A wrong signature is refused either way.
    pub allow_unsigned: bool,
}

impl Trust {
    /// Whether a library that was let in before may still be: by its digest,
    /// and by who had signed it then.
    ///
    /// # Errors
    /// When the library is no longer accepted.
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

/// The number of bytes of a library that are in memory at a time.
const CHUNK: usize = 64 << 10;

/// A library in a trusted file, open and read through once. Its contents stay in the file: another one of its name has
/// no effect, and what was changed in place since then is not copied.
pub struct TrustedFile {
    path: PathBuf,
    file: File,
    size: u64,
    digest: Digest,
    signer: Option<Signer>,
}

impl TrustedFile {
    /// Opens the file once and reads it through, by that one handle. However large it is, it takes little memory.
    ///
    /// The file must be a regular file, not a symbolic link; it and every directory on its path must belong to root or to
    /// this process's effective user; others must be unable to write to any of them (an ancestor directory with the sticky
    /// bit, as `/tmp`, is let through). The contents that were read must then be what `trust` asks for.
    pub fn read(path: &Path, trust: &Trust) -> Result<Self, Refusal> {
        Self::accept(Opened::open(path, MAX_SIZE)?, trust)
    }

    /// As [`read`](Self::read), for a file that must be a library for this machine: what its first bytes show to be
    /// something else, or to be shorter than the file, is not read further.
    pub fn read_library(path: &Path, trust: &Trust) -> Result<Self, Refusal> {
        let opened = Opened::open(path, MAX_SIZE)?;
        elf::check_header(path, &opened.start(elf::HEADER_SIZE)?, opened.size)?;
        Self::accept(opened, trust)
    }

    fn accept(opened: Opened<'_>, trust: &Trust) -> Result<Self, Refusal> {
        let mut hashes = Hashes::new(!trust.signers.is_empty());
        opened.each_chunk(|chunk| {
            hashes.update(chunk);
            Ok(())
        })?;
        let digest = hashes.digest();
        trust.accepts(opened.path, digest)?;
        let signer = check_signature(opened.path, &hashes, trust)?;
        Ok(Self {
            path: opened.path.to_owned(),
            file: opened.file,
            size: opened.size,
            digest,
            signer,
        })
    }

    /// Writes the contents to an empty file; what is zero is left out where a whole chunk is.
    ///
    /// # Errors
    /// When that fails, or the contents are not those that were read before.
    pub fn copy_to(&self, copy: &File) -> Result<(), CopyError> {
        let mut hashes = Hashes::new(false);
        let mut offset = 0;
        each_chunk(&self.file, self.size, |chunk| {
            hashes.update(chunk);
            if chunk.iter().any(|byte| *byte != 0) {
                copy.write_all_at(chunk, offset)?;
            }
            offset += chunk.len() as u64;
            Ok(())
        })?;
        copy.set_len(offset)?;
        if hashes.digest() == self.digest {
            return Ok(());
        }
        Err(CopyError::Changed)
    }

    /// Where the library was read from, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the contents.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The signer of the library; `None` if no signature was needed.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }
}

impl std::fmt::Debug for TrustedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustedFile")
            .field("path", &self.path)
            .field("size", &self.size)
            .field("digest", &self.digest)
            .field("signer", &self.signer)
            .finish()
    }
}

/// Why a copy of a library was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file was changed in place since it was read.
    #[error("the file was changed while it was read")]
    Changed,
}

fn check_signature(path: &Path, hashes: &Hashes, trust: &Trust) -> Result<Option<Signer>, Refusal> {
    if trust.signers.is_empty() {
        return Ok(None);
    }
    let signature = signature_path(path);
    let signature = Opened::open(&signature, signature::MAX_SIZE).and_then(Opened::read);
    match signature {
        Ok(signature) => signature::check(path, hashes, &signature, &trust.signers).map(Some),
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
/// The first break of the rule. A file that does not exist breaks none.
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

/// A file that passed the checks of its place.
struct Opened<'a> {
    path: &'a Path,
    file: File,
    size: u64,
    before: Stat,
}

impl<'a> Opened<'a> {
    fn open(path: &'a Path, limit: u64) -> Result<Self, Refusal> {
        let file = open(path)?;
        let before = fstat(&file).map_err(|e| io_error(path, "read the file", e.into()))?;
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
        Ok(Self {
            path,
            file,
            size,
            before,
        })
    }

    /// Reads the first `length` bytes of the file.
    fn start(&self, length: u64) -> Result<Vec<u8>, Refusal> {
        let mut start = Vec::new();
        let read = each_chunk(&self.file, length.min(self.size), |chunk| {
            start.extend_from_slice(chunk);
            Ok(())
        });
        read.map_err(|source| io_error(self.path, "read the file", source))?;
        Ok(start)
    }

    /// Reads the whole file.
    fn read(self) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        self.each_chunk(|chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads the file through in chunks. It must not change meanwhile.
    fn each_chunk(&self, act: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Refusal> {
        let failed = |source: io::Error| io_error(self.path, "read the file", source);
        // One byte more than was announced tells a file that grows.
        let length = each_chunk(&self.file, self.size + 1, act).map_err(failed)?;
        let after = fstat(&self.file).map_err(|e| failed(e.into()))?;
        let before = &self.before;
        let same_times =
            (before.st_mtime, before.st_mtime_nsec) == (after.st_mtime, after.st_mtime_nsec);
        if length != self.size || before.st_size != after.st_size || !same_times {
            return Err(Refusal::Changed {
                path: self.path.to_owned(),
            });
        }
        Ok(())
    }
}

/// Reads a file from its start, `most` bytes or to its end; gives how many there were.
fn each_chunk(
    file: &File,
    most: u64,
    mut act: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < most {
        let wanted = usize::try_from(most - offset).map_or(CHUNK, |left| left.min(CHUNK));
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let length = match file.read_at(part, offset) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        act(buffer.get(..length).unwrap_or_default())?;
        offset += length as u64;
    }
    Ok(offset)
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
            // What an author finds who did not ask cargo for a `cdylib`.
            Errno::NOENT if path.with_extension("rlib").is_file() => Refusal::CrateType {
                path: path.to_owned(),
                found: "not there, but a Rust library (.rlib) of that name is",
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
