//! Host names in normal form (RFC 1035, RFC 1123).

use crate::bad_host::BadHost;

/// The longest name in text form (RFC 1035 section 3.1, without the final dot).
pub(crate) const LONGEST: usize = 253;

/// A host name in the one form that is compared: lower case, one trailing dot
/// taken off. Letters, digits, `-` and `_` in labels of 1 to 63 (RFC 1123
/// section 2.1; the underscore is common).
pub(crate) fn normalise(text: &str) -> Result<String, BadHost> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(BadHost::Empty);
    }
    if name.len() > LONGEST {
        return Err(BadHost::TooLong { length: name.len() });
    }
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(of_a_name) {
        return Err(BadHost::Character);
    }
    if !name.split('.').all(|label| (1..=63).contains(&label.len())) {
        return Err(BadHost::Label);
    }
    Ok(name.to_ascii_lowercase())
}
