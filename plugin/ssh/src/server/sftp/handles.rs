//! The files and directories that an SFTP client has open.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sftp_protocol::reply::Failed;
use rustix::fs::Dir;

/// The files and directories that a client has opened and not closed yet.
#[derive(Debug)]
pub(super) struct Handles {
    open: HashMap<[u8; 4], Handle>,
    last: u32,
    /// The most that may be open.
    most: usize,
}

#[derive(Debug)]
pub(super) enum Handle {
    File(OwnedFd),
    Directory(Dir),
}

impl Handles {
    pub(super) fn new(most: usize) -> Self {
        Self {
            open: HashMap::new(),
            last: 0,
            most,
        }
    }

    /// Opens something, if there is room; gives the name it goes by.
    pub(super) fn add(
        &mut self,
        open: impl FnOnce() -> Result<Handle, Failed>,
    ) -> Result<[u8; 4], Failed> {
        if self.open.len() >= self.most {
            return Err(Failed::TooManyHandles);
        }
        let handle = open()?;
        let name = loop {
            self.last = self.last.wrapping_add(1);
            let name = self.last.to_be_bytes();
            if !self.open.contains_key(&name) {
                break name;
            }
        };
        self.open.insert(name, handle);
        Ok(name)
    }

    pub(super) fn close(&mut self, name: &[u8]) -> Result<(), Failed> {
        let removed = self.open.remove(name).ok_or(Failed::NoSuchHandle)?;
        drop(removed);
        Ok(())
    }

    /// The descriptor of a file.
    pub(super) fn file(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Failed> {
        match self.handle(name)? {
            Handle::File(file) => Ok(file.as_fd()),
            Handle::Directory(_) => Err(Failed::NoSuchHandle),
        }
    }

    /// The descriptor of a file or directory.
    pub(super) fn any(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Failed> {
        match self.handle(name)? {
            Handle::File(file) => Ok(file.as_fd()),
            Handle::Directory(directory) => Ok(directory.fd()?),
        }
    }

    pub(super) fn directory(&mut self, name: &[u8]) -> Result<&mut Dir, Failed> {
        match self.open.get_mut(name) {
            Some(Handle::Directory(directory)) => Ok(directory),
            _ => Err(Failed::NoSuchHandle),
        }
    }

    fn handle(&self, name: &[u8]) -> Result<&Handle, Failed> {
        self.open.get(name).ok_or(Failed::NoSuchHandle)
    }
}
