//! The end of an HTTP message's head, and the limits of heads.

use memchr::memchr_iter;

use crate::{DecodeError, Progress};

/// The longest head that is read, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most fields a head may have.
pub const MAX_FIELDS: usize = 64;

/// The head that starts `bytes`, to the end of its empty line. It is cheap to
/// ask again with every byte that comes in: the scan is fast and the number of
/// lines bounded.
pub(super) fn split(bytes: &[u8]) -> Result<Progress<&[u8]>, DecodeError> {
    // The end is after the last field, which is one line after the start.
    for newline in memchr_iter(b'\n', bytes).take(MAX_FIELDS + 1) {
        let after = bytes.get(newline + 1..).unwrap_or_default();
        // A bare LF ends a line too (RFC 9112, section 2.2).
        let empty_line = match after {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => continue,
        };
        let length = newline + 1 + empty_line;
        return match bytes.get(..length) {
            Some(head) if length <= MAX_HEAD => Ok(Progress::Done(head, length)),
            _ => Err(DecodeError::HttpHeadTooLong),
        };
    }
    let lines = memchr_iter(b'\n', bytes).take(MAX_FIELDS + 2).count();
    if bytes.len() >= MAX_HEAD || lines >= MAX_FIELDS + 2 {
        return Err(DecodeError::HttpHeadTooLong);
    }
    let missing = match bytes {
        [.., b'\n'] | [.., b'\n', b'\r'] => 1,
        _ => 2,
    };
    Ok(Progress::Need(missing))
}
