//! Secrets in a descriptor that nobody can change or grow (memfd_create(2)).

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use zeroize::Zeroizing;

/// The most bytes that are passed.
const LONGEST: usize = 1024 * 1024;

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// A sealed descriptor with these bytes.
pub(crate) fn write(secrets: &[u8]) -> io::Result<OwnedFd> {
    if secrets.len() > LONGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("secrets", flags)?);
    file.write_all(secrets)?;
    file.rewind()?;
    fcntl_add_seals(&file, seals())?;
    Ok(file.into())
}

/// The bytes that a sealed descriptor holds.
pub(crate) fn read(descriptor: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    if !fcntl_get_seals(&descriptor)?.contains(seals()) {
        return Err(io::Error::other("the node's secrets are not sealed"));
    }
    let mut file = File::from(descriptor);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    // In one piece: a buffer that grows would leave copies behind.
    let mut secrets = Zeroizing::new(vec![0; length.min(LONGEST)]);
    file.read_exact(&mut secrets)?;
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_cannot_be_changed() {
        let sealed = write(b"secret").unwrap();
        let mut file = File::from(sealed.try_clone().unwrap());
        assert!(file.write_all(b"x").is_err());
        assert_eq!(*read(sealed).unwrap(), b"secret");
        let plain = memfd_create("plain", MemfdFlags::CLOEXEC).unwrap();
        assert!(read(plain).is_err());
    }
}
