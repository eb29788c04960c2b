use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Dir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::Failed;

/// What a client has opened and not closed yet.
#[derive(Debug)]
pub(super) struct Handles {
    open: HashMap<[u8; 4], Entry>,
    last: u32,
    /// How many there may be, of this and other channels together.
    room: Arc<Semaphore>,
}

#[derive(Debug)]
pub(super) enum Handle {
    File(OwnedFd),
    Folder(Dir),
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    _permit: OwnedSemaphorePermit,
}

impl Handles {
    pub(super) fn new(room: Arc<Semaphore>) -> Self {
        Self {
            open: HashMap::new(),
            last: 0,
            room,
        }
    }

    /// Opens something, if there is room; gives the name it goes by.
    pub(super) fn add(
        &mut self,
        open: impl FnOnce() -> Result<Handle, Failed>,
    ) -> Result<[u8; 4], Failed> {
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit = permit.map_err(|_| Failed::TooManyHandles)?;
        let handle = open()?;
        let name = loop {
            self.last = self.last.wrapping_add(1);
            let name = self.last.to_be_bytes();
            if !self.open.contains_key(&name) {
                break name;
            }
        };
        let entry = Entry {
            handle,
            _permit: permit,
        };
        self.open.insert(name, entry);
        Ok(name)
    }

    pub(super) fn close(&mut self, name: &[u8]) -> Result<(), Failed> {
        let removed = self.open.remove(name).ok_or(Failed::NoSuchHandle)?;
        drop(removed);
        Ok(())
    }

    /// The descriptor of a file.
    pub(super) fn file(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Failed> {
        match &self.entry(name)?.handle {
            Handle::File(file) => Ok(file.as_fd()),
            Handle::Folder(_) => Err(Failed::NoSuchHandle),
        }
    }

    /// The descriptor of a file or folder.
    pub(super) fn any(&self, name: &[u8]) -> Result<BorrowedFd<'_>, Failed> {
        match &self.entry(name)?.handle {
            Handle::File(file) => Ok(file.as_fd()),
            Handle::Folder(folder) => Ok(folder.fd()?),
        }
    }

    pub(super) fn folder(&mut self, name: &[u8]) -> Result<&mut Dir, Failed> {
        match self.open.get_mut(name).map(|entry| &mut entry.handle) {
            Some(Handle::Folder(folder)) => Ok(folder),
            _ => Err(Failed::NoSuchHandle),
        }
    }

    fn entry(&self, name: &[u8]) -> Result<&Entry, Failed> {
        self.open.get(name).ok_or(Failed::NoSuchHandle)
    }
}
