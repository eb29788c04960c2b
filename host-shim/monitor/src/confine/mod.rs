//! What keeps a process away from everything but what it was granted.

/// Whether processes can be confined on this machine.
///
/// # Errors
/// In one line for people: what is missing and what to do.
pub fn confinement_support() -> Result<(), String> {
    Err("not implemented yet".to_owned())
}
