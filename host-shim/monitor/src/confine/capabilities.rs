//! The capabilities (capabilities(7)) that a process gives up for good.

use std::io;

use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

/// Sees to it that nothing gives this process or its children a capability
/// (capabilities(7)) that it gives up: neither user id 0, nor a program with the
/// set-user-ID bit or capabilities of its own.
///
/// # Errors
/// When the system refuses.
pub(crate) fn limit_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    let holds = rustix::thread::capabilities(None)?.permitted;
    if !holds.contains(CapabilitySet::SETPCAP) {
        return match geteuid().is_root() {
            true => Err(io::Error::other(
                "user id 0 without CAP_SETPCAP cannot give up what execve(2) gives it",
            )),
            // Other users gain nothing, once `no_new_privs` is set.
            false => Ok(()),
        };
    }
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Past the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    Ok(())
}

/// Gives up all capabilities.
///
/// # Errors
/// When the system refuses.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let holds = rustix::thread::capabilities(None)?;
    let held = holds.effective | holds.permitted | holds.inheritable;
    if held == none {
        // A service's filter of system calls may refuse capset(2).
        return Ok(());
    }
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    Ok(set_capabilities(None, sets)?)
}
