//! Unix sockets by their paths: found once, checked, and used as found.
//!
//! A path is resolved by the kernel with a limit that no link leads out of
//! (`RESOLVE_BENEATH` of openat2(2)). What comes back is a descriptor: its real
//! path is what rules are asked about, and it is what is connected to or bound
//! in, whatever becomes of the path meanwhile. Everything here happens with
//! the rights of the calling thread.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fstat, openat2, readlinkat,
    statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// The backlog of listen(2), the same that tokio uses.
const BACKLOG: i32 = 1024;
/// The number of tries of a lookup while directories are being moved: the
/// kernel then cannot tell whether it left the limit.
const TRIES: usize = 128;
/// Links that lead to one directory at most, as in the kernel
/// (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A socket to connect to.
#[derive(Debug)]
pub struct UnixSocketFile(OwnedFd);

/// A place where a socket can be made.
#[derive(Debug)]
pub struct UnixSocketPlace {
    directory: OwnedFd,
    name: OsString,
}

/// The path of a socket that was made; removed when dropped, unless something
/// else has taken it.
#[derive(Debug)]
pub struct BoundPath {
    place: UnixSocketPlace,
    device: u64,
    inode: u64,
}

impl UnixSocketFile {
    /// Finds the socket at `path`. `beneath` is the directory that was granted,
    /// which no link may lead out of; without it exactly `path` was granted,
    /// and its directory is taken for that. Links that lead *to* the granted
    /// directory are followed where nobody but root can have made them. The
    /// last name must be that of a socket, not of a link to one.
    ///
    /// # Errors
    /// `InvalidInput` where that is not a socket, `PermissionDenied` where a
    /// link is in the way, and what else the system says.
    pub fn open(path: &Path, beneath: Option<&Path>) -> io::Result<Self> {
        let UnixSocketPlace { directory, name } = UnixSocketPlace::open(path, beneath)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = resolve(&directory, Path::new(&name), flags)?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not that of a socket",
            ));
        }
        // With a second name, or none, its path says nothing about it.
        if stat.st_nlink != 1 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the socket has not exactly one name",
            ));
        }
        Ok(Self(file))
    }

    /// The socket's path without links, of any length.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        real_path(&self.0)
    }

    /// Connects to what was opened. The socket is non-blocking and close on
    /// exec.
    ///
    /// # Errors
    /// As connect(2); `WouldBlock` while the listener has no room for more.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let socket = stream_socket()?;
        let address = SocketAddrUnix::new(descriptor_path(&self.0))?;
        connect(&socket, &address)?;
        Ok(socket)
    }
}

impl UnixSocketPlace {
    /// Finds the directory that holds, or would hold, the socket at `path`.
    /// See [`UnixSocketFile::open`].
    ///
    /// # Errors
    /// As for [`UnixSocketFile::open`].
    pub fn open(path: &Path, beneath: Option<&Path>) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(Errno::INVAL));
        };
        let granted = beneath.unwrap_or(parent);
        let inside = parent.strip_prefix(granted).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not in the granted directory",
            )
        })?;
        let mut directory = open_directory(granted)?;
        if !inside.as_os_str().is_empty() {
            directory = resolve(&directory, inside, DIRECTORY)?;
        }
        Ok(Self {
            directory,
            name: name.to_owned(),
        })
    }

    /// The path of the socket without links, of any length.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        Ok(real_path(&self.directory)?.join(&self.name))
    }

    /// Makes the socket and listens on it; its name must be free. Nobody but
    /// the user of the calling thread (and root) can connect: the socket never
    /// has another mode than 0600. It is non-blocking and close on exec.
    ///
    /// # Errors
    /// `AddrInUse` where something has that name; as bind(2) and listen(2). The
    /// name may have 80 bytes.
    pub fn bind(self) -> io::Result<(OwnedFd, BoundPath)> {
        let socket = stream_socket()?;
        // On Linux the file takes over the mode the socket has at bind(2).
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let path = Path::new(&descriptor_path(&self.directory)).join(&self.name);
        bind(&socket, &SocketAddrUnix::new(path.as_os_str().as_bytes())?)?;
        let stat = self.stat()?;
        let bound = BoundPath {
            device: stat.st_dev,
            inode: stat.st_ino,
            place: self,
        };
        if stat.st_mode & 0o7777 & !0o600 != 0 {
            return Err(io::Error::other("the socket's mode could not be set"));
        }
        listen(&socket, BACKLOG)?;
        Ok((socket, bound))
    }

    fn stat(&self) -> rustix::io::Result<Stat> {
        statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let ours = self
            .place
            .stat()
            .is_ok_and(|stat| stat.st_dev == self.device && stat.st_ino == self.inode);
        if ours {
            // What cannot be removed stays, and refuses connections.
            let _ = unlinkat(&self.place.directory, &self.place.name, AtFlags::empty());
        }
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens what lies beneath a directory; links that lead out of it do not.
fn resolve(directory: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let limits = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    open_within(directory, path, flags, limits).map_err(|error| match error {
        Errno::XDEV | Errno::LOOP => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a link leads out of the granted directory",
        ),
        error => error.into(),
    })
}

/// Opens a granted directory. A link on the way to it is followed if nobody
/// but root can have made it: then it says what the machine's owner says.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let root = || open_within(CWD, Path::new("/"), DIRECTORY, ResolveFlags::empty());
    let no_links = ResolveFlags::NO_SYMLINKS;
    match open_within(CWD, path, DIRECTORY, no_links) {
        Err(Errno::LOOP) => {}
        outcome => return Ok(outcome?),
    }
    // The names still to go, the next one last.
    let mut names = names(path);
    let mut directories = vec![root()?];
    let mut links = 0;
    while let Some(name) = names.pop() {
        if name == ".." {
            if directories.len() > 1 {
                directories.pop();
            }
            continue;
        }
        let here = directories.last().ok_or(Errno::INVAL)?;
        let any = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = open_within(here, Path::new(&name), any, ResolveFlags::BENEATH)?;
        let stat = fstat(&next)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            directories.push(next);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let around = fstat(here)?;
        if stat.st_uid != 0 || around.st_uid != 0 || around.st_mode & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a link that others than root can make leads to the granted directory: grant the \
                 directory it leads to",
            ));
        }
        let target = readlinkat(&next, "", Vec::new())?.into_bytes();
        let target = Path::new(OsStr::from_bytes(&target));
        if target.is_absolute() {
            directories = vec![root()?];
        }
        names.extend(self::names(target));
    }
    let last = directories.pop().ok_or(Errno::INVAL)?;
    match FileType::from_raw_mode(fstat(&last)?.st_mode) {
        FileType::Directory => Ok(last),
        _ => Err(Errno::NOTDIR.into()),
    }
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn open_within(
    directory: impl AsFd,
    path: &Path,
    flags: OFlags,
    limits: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match openat2(directory.as_fd(), path, flags, Mode::empty(), limits) {
            Err(Errno::AGAIN | Errno::INTR) if tries > 0 => {}
            outcome => return outcome,
        }
    }
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(socket)
}

/// The file that was opened, whatever its path (proc(5)).
fn descriptor_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn real_path(file: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(descriptor_path(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        /// `granted/` with a socket, `elsewhere/` with another, and links.
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            for directory in ["granted/inner", "elsewhere", "granted/real"] {
                std::fs::create_dir_all(world.path(directory)).unwrap();
            }
            for socket in ["granted/s", "granted/real/s", "elsewhere/s"] {
                UnixListener::bind(world.path(socket)).unwrap();
            }
            symlink(world.path("elsewhere"), world.path("granted/out")).unwrap();
            symlink("../elsewhere", world.path("granted/up")).unwrap();
            symlink("real", world.path("granted/in")).unwrap();
            symlink("s", world.path("granted/link")).unwrap();
            symlink(world.path("elsewhere/s"), world.path("granted/away")).unwrap();
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            std::fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn open(&self, name: &str) -> io::Result<PathBuf> {
            let granted = self.path("granted");
            UnixSocketFile::open(&self.path(name), Some(&granted))?.real_path()
        }
    }

    #[test]
    fn no_link_leads_out_of_the_granted_directory() {
        let world = World::new();
        assert_eq!(world.open("granted/s").unwrap(), world.path("granted/s"));
        let inside = world.open("granted/in/s").unwrap();
        assert_eq!(inside, world.path("granted/real/s"));
        for name in [
            "granted/out/s",
            "granted/up/s",
            "granted/link",
            "granted/away",
            "granted/inner/../s/../../elsewhere/s",
            "elsewhere/s",
            "granted/inner",
            "granted/none",
        ] {
            assert!(world.open(name).is_err(), "{name}");
            let place = UnixSocketPlace::open(&world.path(name), Some(&world.path("granted")));
            let made = place.and_then(UnixSocketPlace::bind);
            let allowed = name == "granted/none";
            assert_eq!(made.is_ok(), allowed, "{name}");
        }
    }

    #[test]
    fn a_link_that_others_can_make_does_not_lead_to_a_granted_directory() {
        let world = World::new();
        let open = |directory: &str| {
            let granted = world.path(directory);
            UnixSocketFile::open(&granted.join("s"), Some(&granted))
        };
        symlink(world.path("elsewhere"), world.path("alias")).unwrap();
        let root = rustix::process::geteuid().is_root();
        assert_eq!(open("alias").is_ok(), root);
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(world.path(""), anybody).unwrap();
        let error = open("alias").unwrap_err();
        assert!(error.to_string().contains("grant the directory"), "{error}");
        open("elsewhere").unwrap();
    }

    #[test]
    fn a_second_name_of_a_socket_is_refused() {
        let world = World::new();
        let second = world.path("granted/second");
        std::fs::hard_link(world.path("elsewhere/s"), &second).unwrap();
        assert!(world.open("granted/second").is_err());
    }

    #[test]
    fn a_path_longer_than_a_socket_address_is_reached_and_told_whole() {
        let world = World::new();
        let deep = format!("granted/{}", ["d".repeat(60).as_str(); 3].join("/"));
        std::fs::create_dir_all(world.path(&deep)).unwrap();
        symlink(&deep["granted/".len()..], world.path("granted/deep")).unwrap();
        let granted = world.path("granted");
        let place = UnixSocketPlace::open(&world.path("granted/deep/x"), Some(&granted)).unwrap();
        assert_eq!(place.real_path().unwrap(), world.path(&deep).join("x"));
        let (_listener, _path) = place.bind().unwrap();
        assert_eq!(
            world.open("granted/deep/x").unwrap(),
            world.path(&deep).join("x")
        );
    }

    #[test]
    fn what_was_opened_is_connected_to() {
        let world = World::new();
        let path = world.path("granted/new");
        let (listener, bound) = UnixSocketPlace::open(&path, None).unwrap().bind().unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let again = UnixSocketPlace::open(&path, None).unwrap().bind();
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let file = UnixSocketFile::open(&path, None).unwrap();
        std::fs::rename(&path, world.path("granted/moved")).unwrap();
        UnixListener::bind(&path).unwrap();
        file.connect().unwrap();
        UnixListener::from(listener).accept().unwrap();
        // What took the name is left alone.
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn the_path_goes_with_the_listener() {
        let world = World::new();
        let path = world.path("granted/new");
        let (_, bound) = UnixSocketPlace::open(&path, None).unwrap().bind().unwrap();
        drop(bound);
        assert!(!path.exists());
    }
}
