//! The files a client can reach: those below a directory it takes for the root.
//!
//! Nothing here looks at a path and then uses it. A path is given to the
//! kernel once, with the root as the limit (`RESOLVE_IN_ROOT` of openat2(2)),
//! and what comes back is a file descriptor; everything is done to that, or to
//! one plain name in the directory it stands for. So nobody gains from changing
//! directories and links meanwhile.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, StatVfs, Uid, chmod, chownat,
    fstat, fstatfs, fstatvfs, ftruncate, linkat, mkdirat, openat, openat2, readlinkat, renameat,
    renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::sftp_protocol::attributes::{Attributes, last_failure};

/// The files below a root directory, reached through descriptors alone.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// Whether the root is not that of the file system.
    confined: bool,
    /// The directory where relative paths begin, as the client sees it.
    home: Vec<u8>,
    /// The paths of directories out of reach, without links.
    private: Vec<Vec<u8>>,
}

/// The type of a file system that shows processes (statfs(2)).
const PROC_SUPER_MAGIC: u32 = 0x9fa0;

/// The number of tries for a path that leads through `..` while directories are
/// being moved: the kernel then cannot tell whether it left the root.
const TRIES: usize = 128;

/// The flags of every file that is opened: no file of ours becomes the
/// node's terminal, and opening a named pipe does not wait for its other end.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

impl Tree {
    /// The files below `root`; relative paths begin at `home` where that is
    /// one of them.
    ///
    /// # Errors
    /// When the directory cannot be opened, or the system cannot confine paths
    /// to it (Linux before 5.6).
    pub(super) fn open(root: &[u8], home: &[u8], private: &[PathBuf]) -> Result<Self, Errno> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut tree = Self {
            root: openat(CWD, root, directory, Mode::empty())?,
            confined: true,
            home: b"/".to_vec(),
            private: private
                .iter()
                .filter_map(|path| std::fs::canonicalize(path).ok())
                .map(|path| path.into_os_string().into_encoded_bytes())
                .collect(),
        };
        tree.confined = tree.host_path(&tree.root)? != b"/";
        // Shows as well whether paths can be confined.
        tree.resolve(b"/", OFlags::PATH, Mode::empty())?;
        if let Ok(home) = openat(CWD, home, directory, Mode::empty())
            && let Ok(home) = tree.path_of(&home)
        {
            tree.home = home;
        }
        Ok(tree)
    }

    /// The directory where relative paths begin.
    pub(super) fn home(&self) -> &[u8] {
        &self.home
    }

    pub(super) fn is_confined(&self) -> bool {
        self.confined
    }

    /// Opens a file or directory for what it holds.
    pub(super) fn open_file(
        &self,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags | ALWAYS, mode)
    }

    pub(super) fn stat(&self, path: &[u8], follow: bool) -> Result<Stat, Errno> {
        fstat(self.find(path, follow)?)
    }

    pub(super) fn file_system(&self, path: &[u8]) -> Result<StatVfs, Errno> {
        fstatvfs(self.find(path, true)?)
    }

    /// Changes attributes; all are tried, and the last failure is told.
    pub(super) fn set_attributes(
        &self,
        path: &[u8],
        attributes: &Attributes,
        follow: bool,
    ) -> Result<(), Errno> {
        let file = self.find(path, follow)?;
        self.check_attributes(&file, attributes)?;
        // A descriptor that stands for a path cannot be changed through, but
        // leads to the file itself.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let truncate = |size| {
            if !follow {
                return Err(Errno::INVAL);
            }
            ftruncate(self.open_file(path, OFlags::WRONLY, Mode::empty())?, size)
        };
        let give = |(user, group)| {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let this = AtFlags::EMPTY_PATH;
            chownat(&file, "", Some(user), Some(group), this)
        };
        last_failure([
            attributes.size.map(truncate),
            attributes.mode().map(|mode| chmod(&itself, mode)),
            attributes
                .timestamps()
                .map(|times| utimensat(CWD, &itself, &times, AtFlags::empty())),
            attributes.owner.map(give),
        ])
    }

    /// Checks that a change is not one of the root's mode or owner: the root is
    /// the operator's.
    pub(super) fn check_attributes(
        &self,
        file: impl AsFd,
        attributes: &Attributes,
    ) -> Result<(), Errno> {
        if attributes.mode().is_none() && attributes.owner.is_none() {
            return Ok(());
        }
        let (root, file) = (fstat(&self.root)?, fstat(file)?);
        match (root.st_dev, root.st_ino) == (file.st_dev, file.st_ino) {
            true => Err(Errno::PERM),
            false => Ok(()),
        }
    }

    pub(super) fn make_directory(&self, path: &[u8], mode: Mode) -> Result<(), Errno> {
        let (directory, name) = self.place(path)?;
        mkdirat(directory, name, mode)
    }

    pub(super) fn remove_folder(&self, path: &[u8]) -> Result<(), Errno> {
        let (directory, name) = self.place(path)?;
        unlinkat(directory, name, AtFlags::REMOVEDIR)
    }

    pub(super) fn remove(&self, path: &[u8]) -> Result<(), Errno> {
        let (directory, name) = self.place(path)?;
        unlinkat(directory, name, AtFlags::empty())
    }

    /// Gives a file another name; without `replace` none that is in use.
    pub(super) fn rename(&self, from: &[u8], to: &[u8], replace: bool) -> Result<(), Errno> {
        self.check_holds_nothing_private(from)?;
        let (from, old) = self.place(from)?;
        let (to, new) = self.place(to)?;
        if replace {
            return renameat(from, old, to, new);
        }
        match renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE) {
            // Some file systems do not know how to.
            Err(Errno::INVAL | Errno::NOSYS) => match statat(&to, new, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(_) => renameat(from, old, to, new),
            },
            outcome => outcome,
        }
    }

    /// Checks that a rename does not move a private directory to where it would
    /// not be known.
    fn check_holds_nothing_private(&self, path: &[u8]) -> Result<(), Errno> {
        if self.private.is_empty() {
            return Ok(());
        }
        let moved = self.host_path(self.find(path, false)?)?;
        match self
            .private
            .iter()
            .any(|private| is_within(private, &moved))
        {
            true => Err(Errno::ACCESS),
            false => Ok(()),
        }
    }

    pub(super) fn symlink(&self, target: &[u8], link: &[u8]) -> Result<(), Errno> {
        let (directory, name) = self.place(link)?;
        symlinkat(target, directory, name)
    }

    pub(super) fn hard_link(&self, from: &[u8], to: &[u8]) -> Result<(), Errno> {
        let (from, old) = self.place(from)?;
        let (to, new) = self.place(to)?;
        linkat(from, old, to, new, AtFlags::empty())
    }

    pub(super) fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let link = self.find(path, false)?;
        match readlinkat(link, "", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // What the kernel says of other files when given no name.
            Err(Errno::NOENT) => Err(Errno::INVAL),
            Err(error) => Err(error),
        }
    }

    /// The path without links, `.` and `..`. Its last part need not exist.
    pub(super) fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        match self.find(path, true) {
            Ok(file) => self.path_of(&file),
            Err(Errno::NOENT) => {
                let (directory, name) = self.place(path)?;
                Ok(join(&self.path_of(&directory)?, name))
            }
            Err(error) => Err(error),
        }
    }

    fn find(&self, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let how = if follow {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        self.resolve(path, OFlags::PATH | OFlags::CLOEXEC | how, Mode::empty())
    }

    /// The directory that holds, or would hold, what a path names, and the name.
    fn place<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8]), Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let last = path.iter().rposition(|byte| *byte != b'/');
        let path = last.map_or(&b""[..], |last| path.get(..=last).unwrap_or_default());
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => path.split_at_checked(slash + 1).unwrap_or_default(),
            None => (&b"."[..], path),
        };
        // Directories that have no name of their own here: they exist and stay.
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::BUSY);
        }
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((self.resolve(directory, how, Mode::empty())?, name))
    }

    /// Opens a path. Every path goes through this function.
    fn resolve(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let path = join(&self.home, path);
        // Nothing is cut off before it is known to be within reach.
        let how = flags.difference(OFlags::TRUNC);
        let file = if self.confined {
            self.resolve_confined(&path, how, mode)?
        } else {
            openat2(CWD, path, how, mode, ResolveFlags::NO_MAGICLINKS)?
        };
        self.check_reach(&file)?;
        if flags.contains(OFlags::TRUNC) && flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            ftruncate(&file, 0)?;
        }
        Ok(file)
    }

    fn resolve_confined(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match openat2(&self.root, path, flags, mode, how) {
                Err(Errno::AGAIN | Errno::INTR) if tries > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// Refuses files about processes (one of a client's would be one of this
    /// process), and what the node keeps to itself.
    fn check_reach(&self, file: &OwnedFd) -> Result<(), Errno> {
        if u32::try_from(fstatfs(file)?.f_type) == Ok(PROC_SUPER_MAGIC) {
            return Err(Errno::ACCESS);
        }
        if self.private.is_empty() {
            return Ok(());
        }
        let path = self.host_path(file)?;
        match self.private.iter().any(|private| is_within(&path, private)) {
            true => Err(Errno::ACCESS),
            false => Ok(()),
        }
    }

    /// The path of a file as the client sees it.
    fn path_of(&self, file: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let path = self.host_path(file)?;
        if !self.confined {
            return Ok(path);
        }
        let root = self.host_path(&self.root)?;
        match path.strip_prefix(root.as_slice()) {
            Some(b"") => Ok(b"/".to_vec()),
            Some(inside) if inside.starts_with(b"/") => Ok(inside.to_vec()),
            // It was moved away.
            _ => Err(Errno::NOENT),
        }
    }

    /// The path of a file as the node sees it.
    fn host_path(&self, file: impl AsFd) -> Result<Vec<u8>, Errno> {
        let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        readlinkat(CWD, link, Vec::new()).map(std::ffi::CString::into_bytes)
    }
}

fn is_within(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A path joined to a directory; one that begins at the root stays as it is.
pub(super) fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let between: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, between, path].concat()
}
