//! What is wrong with the text of a host.

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// The text is longer than any name (RFC 1035 section 2.3.4).
    #[error("it has {length} characters; a name has at most 253")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It is not an address, and has a character no host name has.
    #[error("it is not an address and has characters other than letters, digits, `-`, `_` and `.`")]
    Character,
    /// A part between two dots is empty or too long.
    #[error("a part between dots is empty or longer than 63 characters")]
    Label,
}
