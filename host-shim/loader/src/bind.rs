//! Opens a plugin's library with dlopen(3), all its symbols bound at once.

#![allow(unsafe_code)]

use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Opens a library for good and binds all that it calls at once. abi_stable alone would bind a function when it is first
/// called: a library that lacks one would then end the process long after it was let in. Whoever opens the same path
/// later gets this very library, as it is.
///
/// # Errors
/// What the dynamic loader said.
pub(crate) fn open_bound(path: &Path) -> Result<(), libloading::Error> {
    // SAFETY: opening runs the constructors of the library, which nothing can make safe. What can be done has been: the
    // file is trusted (module `trust`), complete (module `elf`), private to this process (module `stage`), and a process
    // of its own has gone all the way with it and ended well, unless this is that process.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }?;
    // Never closed: threads and thread-local data of it may be left.
    std::mem::forget(library);
    Ok(())
}
