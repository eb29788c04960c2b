//! The file of the admin socket: bound once, replaced when its node is dead
//! (unix(7)).

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::state::{StateDir, lock_dir};

/// The longest path that a Unix socket's address takes (unix(7)).
const MAX_PATH: usize = 107;
const NAME: &str = "admin.sock";

/// The socket of a node, bound. Its file is removed when dropped.
pub(crate) struct AdminSocket {
    pub(super) listener: UnixListener,
    file: PathBuf,
    /// The device and inode of the socket's file.
    identity: (u64, u64),
}

impl AdminSocket {
    /// Binds the socket of a state directory. The file that a dead node left
    /// behind is replaced; a living node is left alone.
    pub(crate) fn bind(state: &StateDir) -> Result<Self, SocketError> {
        let dir = state.root();
        let file = dir.join(NAME);
        let failed = |source| SocketError::Io {
            file: file.clone(),
            source,
        };
        // Of two nodes that start at once, the second finds the first.
        let _lock = lock_dir(dir).map_err(failed)?;
        match fs::symlink_metadata(&file) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketError::NotASocket { file });
            }
            Ok(_) => match connect(state) {
                Ok(_) => {
                    return Err(SocketError::Served {
                        dir: dir.to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Under another name until only its owner can open it.
        let fresh = format!(".{NAME}.{}", std::process::id());
        let path = dir.join(&fresh);
        let _ = fs::remove_file(&path);
        let bound =
            at_short_path(dir, &fresh, |path| UnixListener::bind(path)).and_then(|listener| {
                fs::set_permissions(&path, Permissions::from_mode(0o600))?;
                listener.set_nonblocking(true)?;
                let metadata = fs::symlink_metadata(&path)?;
                fs::rename(&path, &file)?;
                Ok((listener, (metadata.dev(), metadata.ino())))
            });
        match bound {
            Ok((listener, identity)) => Ok(Self {
                listener,
                file,
                identity,
            }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(failed(error))
            }
        }
    }
}

impl AdminSocket {
    /// Whether the name is taken: by this socket, or by what somebody put
    /// there, which is left alone.
    pub(super) fn is_there(&self) -> bool {
        !matches!(fs::symlink_metadata(&self.file), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.file)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Whether a node answers for a state directory.
pub(crate) fn is_served(state: &StateDir) -> bool {
    connect(state).is_ok()
}

/// Connects to the node of a state directory.
pub(super) fn connect(state: &StateDir) -> io::Result<UnixStream> {
    let connect_in = |dir: &Path| at_short_path(dir, NAME, |path| UnixStream::connect(path));
    connect_in(state.root()).or_else(|error| {
        // Of a node that runs as a user of its own beside the monitor.
        connect_in(&state.run_directory()).map_err(|other| match other.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => error,
            _ => other,
        })
    })
}

/// Runs `act` with a path to `name` in `dir` that is short enough for a
/// socket's address: through an open descriptor, where it has to be.
fn at_short_path<T>(
    dir: &Path,
    name: &str,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let path = dir.join(name);
    if path.as_os_str().len() <= MAX_PATH {
        return act(&path);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    act(Path::new(&path))
}

/// Why the admin socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Another node serves the state directory.
    #[error(
        "a node already serves {}; stop it first, or let it read its configuration again with `alknet-node reload`",
        dir.display()
    )]
    Served {
        /// The state directory.
        dir: PathBuf,
    },
    /// The name is taken by something that is not a socket.
    #[error("{} is not a socket, so the node cannot make its admin socket there; move it away", file.display())]
    NotASocket {
        /// The file.
        file: PathBuf,
    },
    /// The system refused to make the socket.
    #[error("cannot make the admin socket {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_respected_and_the_dead_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let file = dir.path().join(NAME);
        let first = AdminSocket::bind(&state).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let error = AdminSocket::bind(&state).err().unwrap();
        assert!(matches!(error, SocketError::Served { .. }), "{error}");
        // As if killed: the listener is gone, the file is not.
        fs::hard_link(&file, dir.path().join("kept")).unwrap();
        drop(first);
        assert!(!file.exists());
        fs::rename(dir.path().join("kept"), &file).unwrap();
        let second = AdminSocket::bind(&state).unwrap();
        connect(&state).unwrap();
        drop(second);
        fs::write(&file, "precious").unwrap();
        let error = AdminSocket::bind(&state).err().unwrap();
        assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_long_path_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let state = StateDir::new(&deep);
        let socket = AdminSocket::bind(&state).unwrap();
        connect(&state).unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }

    #[test]
    fn who_comes_later_keeps_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let first = AdminSocket::bind(&state).unwrap();
        fs::remove_file(dir.path().join(NAME)).unwrap();
        let _second = AdminSocket::bind(&state).unwrap();
        drop(first);
        connect(&state).unwrap();
    }
}
