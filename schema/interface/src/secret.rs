//! Secret bytes that cross the boundary and are wiped when dropped.

use std::fmt;
use std::sync::atomic::{Ordering, compiler_fence};

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec};

/// Secret bytes, wiped when dropped and never shown.
#[repr(C)]
#[derive(StableAbi)]
pub struct SecretBytes {
    bytes: RVec<u8>,
}

impl SecretBytes {
    /// Takes ownership of secret bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
        }
    }

    /// The secret itself. Keep what you copy from it as short-lived.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        for byte in self.bytes.as_mut_slice() {
            // SAFETY: `byte` is a valid, aligned, exclusive reference. The
            // write is volatile so that it is not removed as a dead store.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
        compiler_fence(Ordering::SeqCst);
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// A secret granted to a handler under a name.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct NamedSecret {
    /// The name, as the plugin's capabilities schema has it.
    pub name: RString,
    /// The secret.
    pub value: SecretBytes,
}
