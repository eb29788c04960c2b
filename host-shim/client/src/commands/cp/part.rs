//! The names of files that have not arrived completely.

/// The end of a file's name until all of it has arrived.
pub(super) const PART: &[u8] = b".alknet-part";

/// Whether a name is that of a file that did not arrive completely.
pub(super) fn is_part(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(PART)
}
