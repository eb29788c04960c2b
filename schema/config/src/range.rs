//! The check that a number of the configuration lies within its range.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::SshConfigError;

/// Fails unless `value` lies in `range`.
pub(crate) fn within<T: PartialOrd + Display>(
    pointer: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), SshConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(SshConfigError::at(
        pointer,
        format!(
            "{value} is out of range; use a value from {} to {}",
            range.start(),
            range.end()
        ),
    ))
}
