//! How what a peer says of itself stands in log lines.

use std::fmt;
use std::net::SocketAddr;

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
/// without control characters or those that turn text around.
pub(crate) fn shown(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut shown: String = text.chars().take(LONGEST).map(plain).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_user_name_cannot_forge_or_fill_a_log() {
        assert_eq!(shown("alice"), "alice");
        let forged = shown("root\n1 INFO auth attempt\u{1b}[2J\u{202e}");
        assert_eq!(forged, "root\u{fffd}1 INFO auth attempt\u{fffd}[2J\u{fffd}");
        let long = shown(&"ä".repeat(100_000));
        assert_eq!(long.chars().count(), 65);
    }
}
