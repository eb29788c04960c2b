//! Unix sockets, with a look at where their paths lead: a link, or a folder
//! that is one, must not lead around a rule.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, open};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// As tokio listens.
const BACKLOG: i32 = 1024;

/// A socket's place in the file system; removed when dropped, unless something
/// else has taken it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A socket to connect to, found once: what is checked is what is connected
/// to, whatever becomes of its path.
pub(super) struct Target(OwnedFd);

impl Target {
    /// Finds the socket at `path`, which must be one and not a link to one.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Socket {
            Ok(Self(file))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is not that of a socket",
            ))
        }
    }

    /// Its path without links.
    pub(super) fn real_path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(self.handle())
    }

    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.handle()).await
    }

    /// The file that was opened, whatever its path (proc(5)).
    fn handle(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// The path of a file that is to be made at `path`, without links in its
/// folder.
pub(super) fn real_path_of_new(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or(OsStr::new(""));
    Ok(std::fs::canonicalize(folder)?.join(name))
}

/// Listens at `path`, which must not exist. Nobody but the node's user (and
/// root) can connect: the socket never has another mode than 0600.
pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file takes over the mode the socket has at bind(2).
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    if metadata.mode() & 0o7777 & !0o600 != 0 {
        return Err(io::Error::other("the socket's mode could not be set"));
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(StdListener::from(socket))?;
    Ok((listener, file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.dev() == self.device && metadata.ino() == self.inode);
        if ours {
            // What cannot be removed stays, and refuses connections.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_private_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = bind(&path).unwrap();
        let mode = std::fs::symlink_metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert_eq!(
            bind(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse,
            "what exists is left alone"
        );
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_link_is_no_socket_and_a_folders_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink(real.join("real"), real.join("alias")).unwrap();
        let (listener, _file) = bind(&real.join("real/s")).unwrap();
        std::os::unix::fs::symlink(real.join("real/s"), real.join("link")).unwrap();
        assert!(Target::open(&real.join("link")).is_err());
        let target = Target::open(&real.join("alias/s")).unwrap();
        assert_eq!(target.real_path().unwrap(), real.join("real/s"));
        assert_eq!(
            real_path_of_new(&real.join("alias/new")).unwrap(),
            real.join("real/new")
        );
        let (connected, accepted) = tokio::join!(target.connect(), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn what_took_its_place_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
