//! Writes addresses and texts of a peer's choice into log lines, escaped and
//! cut to a length.

use std::fmt;
use std::net::SocketAddr;

use alknet_text::visible;

/// The longest text of a peer's choice that is logged, in characters.
const LONGEST: usize = 64;

/// A peer's address in a log line.
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// A text of the peer's choice, such as a user name, for a log line: cut, and
/// with control characters and those that turn text around as escapes.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => visible(text.get(..end).unwrap_or_default()).into_owned() + "…",
        None => visible(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_user_name_cannot_forge_or_fill_a_log() {
        assert_eq!(shown("alice"), "alice");
        let forged = shown("root\n1 INFO auth attempt\u{1b}[2J\u{202e}");
        assert_eq!(forged, r"root\n1 INFO auth attempt\u{1b}[2J\u{202e}");
        let long = shown(&"ä".repeat(100_000));
        assert_eq!(long.chars().count(), 65);
    }
}
