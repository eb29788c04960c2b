//! Text of others on one line: what a plugin says of itself, and names of files.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use alknet_text::{visible, visible_bytes};

/// The longest text of a plugin that is shown, in characters.
pub const MAX_TEXT: usize = 300;

/// A text of a plugin as it is shown: one line of at most [`MAX_TEXT`] characters. White space becomes single spaces;
/// other control characters, and those that change the direction of what follows, become escapes.
pub fn one_line(text: &str) -> String {
    // What is cut off is not looked at: each character becomes at least one.
    let mut words = String::new();
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        let word: String = word.chars().take(MAX_TEXT + 1).collect();
        words.push_str(&visible(&word));
        if words.chars().count() > MAX_TEXT {
            break;
        }
    }
    match words.char_indices().nth(MAX_TEXT) {
        Some(_) => {
            let cut = words.chars().take(MAX_TEXT - 1);
            cut.chain(['…']).collect()
        }
        None => words,
    }
}

/// An ALPN on one line, whatever bytes it has.
pub fn shown_alpn(alpn: &[u8]) -> String {
    one_line(&visible_bytes(alpn))
}

/// A path on one line, whatever bytes it has.
pub fn shown(path: &Path) -> String {
    visible_bytes(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_text_is_one_bounded_line() {
        assert_eq!(one_line(" two\n\twords "), "two words");
        assert_eq!(one_line("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        let long = one_line(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_TEXT);
        assert!(long.ends_with("é…"), "{long}");
        let many = one_line(&"word ".repeat(10_000));
        assert_eq!(many.chars().count(), MAX_TEXT);
    }

    #[test]
    fn a_path_is_shown_whatever_bytes_it_has() {
        let path = Path::new(OsStr::from_bytes(b"/p/a\xff\nb\\x.so"));
        assert_eq!(shown(path), "/p/a\\xff\\nb\\x.so");
        assert_eq!(shown(Path::new("/p/ä.so")), "/p/ä.so");
    }
}
